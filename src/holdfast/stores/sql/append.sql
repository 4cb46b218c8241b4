-- Rows: session id, stream, term of the writer, term, seq, kind, at, data, request, origin, sealed.
-- A session that is not there, or has a higher term, makes the number of the session NULL: NOT NULL refuses the whole
-- statement, nothing is written, and the writer looks session by session (look.sql).
INSERT INTO journal (session, stream, term, seq, kind, at, data, request, origin, sealed)
SELECT
    (SELECT stored.n FROM sessions AS stored WHERE stored.id = column1 AND stored.term <= column3),
    column2, column4, column5, column6, column7, column8, column9, column10, column11
FROM (VALUES /*rows*/)
WHERE true
ON CONFLICT (session, stream, term, seq) DO NOTHING
