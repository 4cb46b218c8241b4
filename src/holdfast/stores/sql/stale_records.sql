-- One window of rows in the order of creation: what is not sealed under the current key. The last row says where the
-- window ended and how many rows it has. Only what is needed is kept of each row: contents may be long.
WITH part AS MATERIALIZED (
    SELECT n, length(/*body*/) AS bytes, substr(/*body*/, 1, length(:start)) <> :start AS stale
    FROM /*table*/
    WHERE n > :after
    ORDER BY n
    LIMIT :window
)
SELECT n, bytes FROM part WHERE stale
UNION ALL
SELECT max(n), count(*) FROM part
