-- One window of changes: of each that was made after the moment, and is the first of its session to be so, what was there
-- before it; the last row says where the window ended. A change whose previous one is not kept any more carries it.
WITH part AS MATERIALIZED (
    SELECT * FROM changes WHERE n > :after ORDER BY n LIMIT :window
)
SELECT part.n, part.id, coalesce(was.body, CASE WHEN part.kind >= 4 THEN part.body ELSE part.before END) AS image
FROM part LEFT JOIN changes AS was ON was.n = part.previous AND was.n > (SELECT trimmed FROM feed)
WHERE part.n > (SELECT trimmed FROM feed) AND part.at > :at AND (was.n IS NULL OR was.at <= :at) AND image IS NOT NULL
UNION ALL
SELECT max(n), NULL, count(*) FROM part
