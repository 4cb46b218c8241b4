-- Rows: number, body.
UPDATE sessions SET body = anew.column2 FROM (VALUES /*rows*/) AS anew WHERE sessions.n = anew.column1
