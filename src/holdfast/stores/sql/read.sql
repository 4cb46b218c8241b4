SELECT stream, term, seq, kind, at, data, request, origin, sealed
FROM journal
WHERE session = (SELECT n FROM sessions WHERE id = ?) AND stream = ? AND (term, seq) > (?, ?)
ORDER BY term, seq
LIMIT ?
