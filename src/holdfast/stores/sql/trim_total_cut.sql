SELECT max(n)
FROM (
    SELECT n, sum(bytes) OVER oldest - bytes AS bytes_before
    FROM journal
    WHERE kind = 1
    WINDOW oldest AS (ORDER BY n)
)
WHERE bytes_before < :bytes
