SELECT n, id, body FROM sessions WHERE n IN (SELECT value FROM json_each(?))
