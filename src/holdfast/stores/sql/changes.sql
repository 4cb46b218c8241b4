-- Changes behind a number, in order.
SELECT n, id, at, kind, last_accessed, body
FROM changes
WHERE n > max(:after, (SELECT trimmed FROM feed))
ORDER BY n
LIMIT :limit
