-- Nothing is left of a session's journal: its number may be given out again.
DELETE FROM journal_left
WHERE session = (SELECT min(session) FROM journal_left)
    AND NOT EXISTS (SELECT 1 FROM journal WHERE journal.session = journal_left.session)
