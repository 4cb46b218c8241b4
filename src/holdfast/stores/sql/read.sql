SELECT stream, term, seq, kind, at, data, request, origin
FROM journal
WHERE session = (SELECT n FROM sessions WHERE id = ?) AND stream = ? AND (term, seq) > (?, ?)
ORDER BY term, seq
LIMIT ?
