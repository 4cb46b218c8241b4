SELECT id, version, term, last_accessed, body
FROM sessions
WHERE deadline < 9e999 AND deadline <= ?
ORDER BY deadline
LIMIT ?
