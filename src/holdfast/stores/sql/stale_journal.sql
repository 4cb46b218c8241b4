-- The same of the journal, whose entries may also lie in clear. What is cheap to look at is looked at first.
WITH part AS MATERIALIZED (
    SELECT n, bytes, substr(data, 1, length(:start)) <> :start OR sealed = 0 AS stale
    FROM journal
    WHERE n > :after
    ORDER BY n
    LIMIT :window
)
SELECT n, bytes FROM part WHERE stale
UNION ALL
SELECT max(n), count(*) FROM part
