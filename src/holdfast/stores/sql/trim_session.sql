-- One step: the oldest messages of a session, until what is left is within both bounds.
DELETE FROM journal WHERE n IN (
    SELECT n
    FROM (
        SELECT n, row_number() OVER oldest - 1 AS messages_before, sum(bytes) OVER oldest - bytes AS bytes_before
        FROM (SELECT n, bytes FROM journal WHERE kind = 1 AND session = :session ORDER BY n LIMIT :step)
        WINDOW oldest AS (ORDER BY n)
    ) CROSS JOIN (
        SELECT messages - :messages_max AS too_many, bytes - :bytes_max AS too_much
        FROM journal_sizes
        WHERE session = :session
    )
    WHERE bytes_before < :step_bytes AND (messages_before < too_many OR bytes_before < too_much)
)
