UPDATE counters SET value = value + 1 WHERE name = 'term' RETURNING value
