-- The same of the journal, whose entries may also lie in clear. What is cheap to look at is looked at first.
WITH part AS (SELECT n, bytes, data, sealed FROM journal WHERE n > :after ORDER BY n LIMIT :window)
SELECT n, bytes FROM part WHERE substr(data, 1, length(:start)) <> :start OR sealed = 0
UNION ALL
SELECT max(n), count(*) FROM part
