SELECT n, id, version, term, last_accessed, body FROM sessions WHERE n > ? ORDER BY n LIMIT ?
