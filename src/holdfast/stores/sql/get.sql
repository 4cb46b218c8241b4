SELECT id, version, term, last_accessed, body FROM sessions WHERE id IN (SELECT value FROM json_each(?))
