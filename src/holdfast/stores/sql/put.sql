-- Rows: id, version, term, created_at, last_accessed, timeout, expires_at, owner, state, body, written_at, and the number
-- of the row. Each becomes a change of the feed as well (schema_5.sql), numbered behind those there are.
-- A row whose stored version is not the one before, or of another session that had the id, or whose stored term is higher,
-- makes its version NULL: NOT NULL refuses the whole statement, nothing is written, and the writer looks row by row
-- (look.sql).
INSERT INTO sessions (
    id, version, term, created_at, last_accessed, timeout, expires_at, owner, state, body, written_at, changed
)
SELECT
    column1,
    CASE WHEN column2 = 1 OR EXISTS (SELECT 1 FROM sessions AS stored WHERE stored.id = column1) THEN column2 END,
    column3, column4, column5, column6, column7, column8, column9, column10, column11,
    coalesce((SELECT max(n) FROM changes), (SELECT trimmed FROM feed)) + column12
FROM (VALUES /*numbered rows*/)
WHERE true
ON CONFLICT (id) DO UPDATE SET
    version = CASE
        WHEN sessions.version = excluded.version - 1
            AND sessions.term <= excluded.term
            AND (sessions.created_at IS NULL OR sessions.created_at = excluded.created_at)
        THEN excluded.version
    END,
    term = excluded.term,
    created_at = excluded.created_at,
    last_accessed = max(sessions.last_accessed, excluded.last_accessed),
    timeout = excluded.timeout,
    expires_at = excluded.expires_at,
    owner = excluded.owner,
    state = excluded.state,
    body = excluded.body,
    written_at = max(coalesce(sessions.written_at, 0.0), excluded.written_at),
    changed = excluded.changed
