SELECT origin
FROM journal
WHERE session = (SELECT n FROM sessions WHERE id = ?) AND origin > 0 AND origin BETWEEN ? AND ?
