-- One step: the oldest messages of all, until what is left is within the bound.
DELETE FROM journal WHERE n IN (
    SELECT n
    FROM (
        SELECT n, sum(bytes) OVER (ORDER BY at, n) - bytes AS bytes_before
        FROM (SELECT n, at, bytes FROM journal WHERE kind = 1 ORDER BY at, n LIMIT :step)
    )
    WHERE bytes_before < min(:step_bytes, (SELECT sum(bytes) FROM journal_sizes) - :bytes_max)
)
