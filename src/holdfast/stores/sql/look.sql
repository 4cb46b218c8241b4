-- What is stored under some ids, as one row: each further row would be another hand-over of the interpreter's lock.
SELECT json_group_array(json_array(id, version, term, created_at))
FROM sessions
WHERE id IN (SELECT value FROM json_each(?))
