-- Up to which message a session is trimmed so that so many entries, or so many bytes, go.
SELECT max(n)
FROM (
    SELECT n, row_number() OVER oldest AS place, sum(bytes) OVER oldest - bytes AS bytes_before
    FROM journal
    WHERE session = :session AND kind = 1
    WINDOW oldest AS (ORDER BY n)
)
WHERE place <= :entries OR bytes_before < :bytes
