SELECT n, id, /*body*/ FROM /*table*/ WHERE n IN (SELECT value FROM json_each(?))
