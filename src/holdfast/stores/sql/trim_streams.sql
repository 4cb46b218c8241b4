-- Streams of which nothing is young enough to be kept: their openings and final entries go too.
DELETE FROM journal WHERE n IN (
    SELECT n FROM journal AS ends
    WHERE kind <> 1 AND at < :oldest
        AND NOT EXISTS (
            SELECT 1 FROM journal AS young
            WHERE young.session = ends.session AND young.stream = ends.stream AND young.at >= :oldest
        )
    LIMIT 1000
)
