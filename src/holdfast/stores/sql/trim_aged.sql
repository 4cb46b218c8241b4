DELETE FROM journal WHERE n IN (SELECT n FROM journal WHERE kind = 1 AND at < :oldest ORDER BY at LIMIT 1000)
