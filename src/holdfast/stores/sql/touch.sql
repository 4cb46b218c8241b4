-- Rows: id, the moment of the access.
UPDATE sessions SET last_accessed = told.column2
FROM (VALUES /*rows*/) AS told
WHERE sessions.id = told.column1 AND sessions.last_accessed < told.column2
