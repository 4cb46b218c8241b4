-- One window of rows in the order of creation, filtered; the last row says where the window ended (id NULL).
WITH part AS MATERIALIZED (
    SELECT * FROM sessions WHERE n > :after ORDER BY n LIMIT :window
)
SELECT n, id, version, term, last_accessed, body
FROM (
    SELECT n, id, version, term, last_accessed, body
    FROM part
    WHERE (:owner IS NULL OR owner = :owner)
        AND (:state IS NULL OR state = :state)
        AND (:prefix IS NULL OR substr(id, 1, length(:prefix)) = :prefix)
    ORDER BY n
    LIMIT :limit
)
UNION ALL
SELECT max(n), NULL, count(*), NULL, NULL, NULL FROM part
