-- Two indexes hold all there is to know of them, and of this session only.
SELECT origin
FROM journal
WHERE kind = 1 AND session = (SELECT n FROM sessions WHERE id = :id) AND origin > 0 AND origin BETWEEN :first AND :last
UNION
SELECT origin
FROM journal
WHERE kind <> 1 AND session = (SELECT n FROM sessions WHERE id = :id) AND origin > 0 AND origin BETWEEN :first AND :last
