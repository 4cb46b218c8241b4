-- The sessions whose messages exceed a bound, as one value, and the bytes of all messages.
SELECT
    json_group_array(session) FILTER (WHERE messages > :messages_max OR bytes > :bytes_max),
    coalesce(sum(bytes), 0)
FROM journal_sizes
