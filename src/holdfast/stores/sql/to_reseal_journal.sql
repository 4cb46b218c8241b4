-- Entries by number; those of sessions that are gone are left to be swept away.
SELECT journal.n, sessions.id, stream, journal.term, seq, kind, at, data, request, origin, sealed
FROM journal JOIN sessions ON sessions.n = journal.session
WHERE journal.n IN (SELECT value FROM json_each(?))
