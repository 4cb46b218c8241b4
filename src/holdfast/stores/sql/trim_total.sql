SELECT coalesce(sum(bytes), 0) FROM journal
