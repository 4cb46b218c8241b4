-- One step: measure what came since, for the part that is being written.
WITH step AS MATERIALIZED (
    SELECT n, at, length(body) + coalesce(length(before), 0) + length(id) AS bytes
    FROM changes
    WHERE n > (SELECT measured FROM feed)
    ORDER BY n
    LIMIT :step
)
SELECT count(*), max(n), min(at), max(at), sum(bytes) FROM step
