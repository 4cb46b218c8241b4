-- One step: entries of a session that is gone.
DELETE FROM journal WHERE n IN (
    SELECT n
    FROM (
        SELECT n, sum(bytes) OVER (ORDER BY n) - bytes AS bytes_before
        FROM (SELECT n, bytes FROM journal WHERE session = (SELECT min(session) FROM journal_left) LIMIT :step)
    )
    WHERE bytes_before < :step_bytes
)
