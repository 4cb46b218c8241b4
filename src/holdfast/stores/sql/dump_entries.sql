-- CROSS JOIN: the journal in the order of writing, and for each entry its session. What is left of the journals of
-- deleted sessions has none.
SELECT
    journal.n, sessions.id, journal.stream, journal.term, journal.seq, journal.kind, journal.at,
    journal.data, journal.request, journal.origin, journal.sealed
FROM journal CROSS JOIN sessions ON sessions.n = journal.session
WHERE journal.n > ?
ORDER BY journal.n
LIMIT ?
