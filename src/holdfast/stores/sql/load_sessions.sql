-- Rows: id, version, term, created_at, last_accessed, timeout, expires_at, owner, state, body, written_at, and 0: the feed
-- tells of none (schema_5.sql).
INSERT INTO sessions (
    id, version, term, created_at, last_accessed, timeout, expires_at, owner, state, body, written_at, changed
)
VALUES /*rows*/
