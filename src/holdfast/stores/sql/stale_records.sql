-- One window of rows in the order of creation: what is not sealed under the current key. The last row says where the
-- window ended and how many rows it has.
WITH part AS (SELECT n, /*body*/ AS body FROM /*table*/ WHERE n > :after ORDER BY n LIMIT :window)
SELECT n, length(body) FROM part WHERE substr(body, 1, length(:start)) <> :start
UNION ALL
SELECT max(n), count(*) FROM part
