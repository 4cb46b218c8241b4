-- How many records, entries and dictionaries there are under each key ("": none), as the first bytes tell
-- (holdfast.codec.envelope).
WITH sealed AS (
    SELECT body AS data, 1 AS sealed FROM sessions
    UNION ALL
    SELECT body, 1 FROM changes
    UNION ALL
    SELECT before, 1 FROM changes WHERE before IS NOT NULL
    UNION ALL
    SELECT data, sealed FROM journal
    UNION ALL
    SELECT body, 1 FROM dictionaries
)
SELECT
    CASE
        WHEN sealed = 1 AND substr(data, 1, 3) = x'484602'
        THEN coalesce(CAST(substr(data, 5, unicode(substr(data, 4, 1))) AS TEXT), '')
        ELSE ''
    END AS id,
    count(*)
FROM sealed
GROUP BY id
