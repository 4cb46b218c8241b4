-- The index is named: left to choose, SQLite goes through the openings of all sessions.
SELECT
    stream, term, seq, kind, at, data, request, origin, sealed,
    (
        SELECT last.seq FROM journal AS last
        WHERE last.session = opening.session AND last.stream = opening.stream
        ORDER BY last.term DESC, last.seq DESC
        LIMIT 1
    )
FROM journal AS opening INDEXED BY journal_ends
WHERE kind <> 1 AND kind = 0 AND session = (SELECT n FROM sessions WHERE id = ?)
    AND NOT EXISTS (
        SELECT 1 FROM journal AS final
        WHERE final.kind <> 1 AND final.kind = 2 AND final.session = opening.session AND final.stream = opening.stream
    )
ORDER BY n
