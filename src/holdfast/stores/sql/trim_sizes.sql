SELECT session, count(*), sum(bytes) FROM journal GROUP BY session
