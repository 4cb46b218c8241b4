-- Rows: number, body.
UPDATE /*table*/ SET /*body*/ = anew.column2 FROM (VALUES /*rows*/) AS anew WHERE /*table*/.n = anew.column1
