-- What is stored under some ids. As columns, and not as one value in JSON: that has too few digits for a moment.
SELECT id, version, term, created_at FROM sessions WHERE id IN (SELECT value FROM json_each(?))
