-- Schema 4. created_at: which of the sessions that had an id one after the other this is; their versions all begin at 1.
-- NULL: written by a process of an older schema, which goes on as ever, and not written since.
ALTER TABLE sessions ADD COLUMN created_at REAL;
