-- How many records, entries and dictionaries there are under each key ("": none), as the first bytes tell
-- (holdfast.codec.envelope): an id has up to 32.
WITH sealed AS (
    SELECT substr(body, 1, 36) AS start, 1 AS sealed FROM sessions
    UNION ALL
    SELECT substr(body, 1, 36), 1 FROM changes
    UNION ALL
    SELECT substr(before, 1, 36), 1 FROM changes WHERE before IS NOT NULL
    UNION ALL
    SELECT substr(data, 1, 36), sealed FROM journal
    UNION ALL
    SELECT substr(body, 1, 36), 1 FROM dictionaries
)
SELECT
    CASE
        WHEN sealed = 1 AND substr(start, 1, 3) = x'484602'
        THEN coalesce(CAST(substr(start, 5, unicode(substr(start, 4, 1))) AS TEXT), '')
        ELSE ''
    END AS id,
    count(*)
FROM sealed
GROUP BY id
