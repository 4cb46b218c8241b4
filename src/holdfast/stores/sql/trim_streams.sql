-- One step: openings and final entries of streams of which nothing is young enough to be kept.
DELETE FROM journal WHERE n IN (
    SELECT n
    FROM journal AS ends
    WHERE kind IN (0, 2) AND at < :oldest
        AND NOT EXISTS (
            SELECT 1 FROM journal AS young
            WHERE young.session = ends.session AND young.stream = ends.stream AND young.at >= :oldest
        )
    LIMIT :step
)
