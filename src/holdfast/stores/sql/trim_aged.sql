-- One step: messages that are too old.
DELETE FROM journal WHERE n IN (
    SELECT n
    FROM (
        SELECT n, sum(bytes) OVER (ORDER BY at, n) - bytes AS bytes_before
        FROM (SELECT n, at, bytes FROM journal WHERE kind = 1 AND at < :oldest ORDER BY at, n LIMIT :step)
    )
    WHERE bytes_before < :step_bytes
)
