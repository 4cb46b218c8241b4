-- Rows: number, data.
UPDATE journal SET data = anew.column2, request = x'', sealed = 1
FROM (VALUES /*rows*/) AS anew
WHERE journal.n = anew.column1
