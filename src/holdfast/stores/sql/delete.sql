-- Rows: id, the version expected or NULL, when the session expected was created, the moment at which it must be due or
-- NULL, the kind of the change, when it is made, and the number of the row.
INSERT INTO endings (n, id, at, kind, previous, last_accessed, body)
SELECT
    coalesce((SELECT max(n) FROM changes), (SELECT trimmed FROM feed)) + wanted.column7,
    stored.id,
    max(wanted.column6, coalesce(stored.written_at, 0.0)),
    wanted.column5,
    stored.changed,
    stored.last_accessed,
    stored.body
FROM (VALUES /*numbered rows*/) AS wanted CROSS JOIN sessions AS stored ON stored.id = wanted.column1
WHERE (
        wanted.column2 IS NULL
        OR stored.version = wanted.column2
        AND (stored.created_at IS NULL OR stored.created_at = wanted.column3)
    )
    AND (wanted.column4 IS NULL OR stored.deadline <= wanted.column4)
RETURNING id
