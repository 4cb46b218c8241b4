-- Some of the youngest records: what is alike in them is alike in those to come.
SELECT n, id, body FROM sessions WHERE n < :before ORDER BY n DESC LIMIT :limit
