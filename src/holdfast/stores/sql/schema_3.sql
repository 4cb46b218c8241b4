-- Schema 3. A long journal is not deleted with its session, which would hold the only writer for as long as that takes:
-- the first entries go at once, the number of the session is noted, and the rest goes in steps (sweep.sql). Nobody sees
-- it meanwhile, for a journal is found by the number of a session that is there.
-- A process of an older schema that has the file open goes on: it deletes and inserts as ever.
CREATE TABLE journal_left (session INTEGER PRIMARY KEY);

DROP TRIGGER sessions_take_their_journal;
CREATE TRIGGER sessions_take_their_journal AFTER DELETE ON sessions BEGIN
    DELETE FROM journal WHERE n IN (SELECT n FROM journal WHERE session = OLD.n LIMIT 16);
    DELETE FROM journal_sizes WHERE session = OLD.n;
    INSERT INTO journal_left SELECT OLD.n WHERE EXISTS (SELECT 1 FROM journal WHERE session = OLD.n);
END;

-- SQLite gives a new session the number after the highest there is, which may be that of one whose journal is still
-- there. Such a session is numbered anew, before anything can be written to its journal.
CREATE TRIGGER sessions_take_no_journal AFTER INSERT ON sessions
WHEN EXISTS (SELECT 1 FROM journal_left WHERE session = NEW.n) BEGIN
    UPDATE sessions SET n = (SELECT max(session) + 1 FROM journal_left) WHERE n = NEW.n;
END;
