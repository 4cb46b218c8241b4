-- Rows: id, the version expected or NULL, when the session expected was created, the moment at which it must be due or NULL.
DELETE FROM sessions WHERE n IN (
    SELECT stored.n
    FROM (VALUES /*rows*/) AS wanted CROSS JOIN sessions AS stored ON stored.id = wanted.column1
    WHERE (
            wanted.column2 IS NULL
            OR stored.version = wanted.column2
            AND (stored.created_at IS NULL OR stored.created_at = wanted.column3)
        )
        AND (wanted.column4 IS NULL OR stored.deadline <= wanted.column4)
)
RETURNING id
