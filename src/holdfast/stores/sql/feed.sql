-- How the feed stands: its name, the earliest moment and the last number that is gone, the newest number, and what says
-- which change has the number asked for, or the newest.
SELECT store, horizon, trimmed, newest, changes.id, changes.at, changes.kind
FROM (SELECT *, coalesce((SELECT max(n) FROM changes), trimmed) AS newest FROM feed) AS stands
LEFT JOIN changes ON changes.n = coalesce(:n, newest)
