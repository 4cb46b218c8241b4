-- How many records there are in each state, without those that are due.
SELECT state, count(*) FROM sessions WHERE deadline > ? GROUP BY state
