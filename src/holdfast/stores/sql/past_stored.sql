-- One window of sessions: those whose stored version was written by the moment; the last row says where the window ended.
WITH part AS MATERIALIZED (
    SELECT n, id, written_at, body FROM sessions WHERE n > :after ORDER BY n LIMIT :window
)
SELECT n, id, body FROM part WHERE written_at IS NULL OR written_at <= :at
UNION ALL
SELECT max(n), NULL, count(*) FROM part
