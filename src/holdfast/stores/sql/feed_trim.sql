-- One step: changes that are to go.
DELETE FROM changes WHERE n IN (
    SELECT n
    FROM (
        SELECT n, sum(bytes) OVER (ORDER BY n) - bytes AS bytes_before
        FROM (
            SELECT n, length(body) + coalesce(length(before), 0) AS bytes
            FROM changes
            WHERE n <= (SELECT trimmed FROM feed)
            ORDER BY n
            LIMIT :step
        )
    )
    WHERE bytes_before < :step_bytes
)
