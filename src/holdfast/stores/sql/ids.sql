-- One window of rows in the order of creation. The first row: where it ended, its size, and the ids of what is surely
-- there, as one value: each further row would be another hand-over of the interpreter's lock. The others: what has
-- expired unless an access was told and not written.
WITH part AS MATERIALIZED (
    SELECT n, id, state, timeout, expires_at, deadline FROM sessions WHERE n > :after ORDER BY n LIMIT :limit
)
SELECT max(n), count(*), json_group_array(id) FILTER (WHERE state = 'active' AND deadline > :now) FROM part
UNION ALL
SELECT id, timeout, expires_at FROM part WHERE state = 'active' AND deadline <= :now
