SELECT deadline, n, id, version, term, last_accessed, body
FROM sessions
WHERE deadline < 9e999 AND deadline <= :now AND (deadline, n) > (:deadline, :n)
ORDER BY deadline, n
LIMIT :limit
