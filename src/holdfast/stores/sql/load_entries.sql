-- Rows: number, session id, stream, term, seq, kind, at, data, request, origin, whether they are sealed. Those of sessions
-- that are not there are left out.
INSERT INTO journal (n, session, stream, term, seq, kind, at, data, request, origin, sealed)
SELECT column1, sessions.n, column3, column4, column5, column6, column7, column8, column9, column10, column11
FROM (VALUES /*rows*/) CROSS JOIN sessions ON sessions.id = column2
