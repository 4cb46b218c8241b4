-- Rows: id, version, term, created_at, last_accessed, timeout, expires_at, owner, state, body.
INSERT INTO sessions (id, version, term, created_at, last_accessed, timeout, expires_at, owner, state, body)
VALUES /*rows*/
