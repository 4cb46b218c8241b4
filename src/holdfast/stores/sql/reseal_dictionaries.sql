-- Rows: number, body.
UPDATE dictionaries SET body = anew.column2 FROM (VALUES /*rows*/) AS anew WHERE dictionaries.n = anew.column1
