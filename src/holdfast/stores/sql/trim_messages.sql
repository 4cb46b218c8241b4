DELETE FROM journal WHERE n IN (
    SELECT n FROM journal
    WHERE kind = 1 AND (:session IS NULL OR session = :session) AND n <= :up_to
    ORDER BY n
    LIMIT 1000
)
