-- Schema 5. The feed: every write of a session is one row of `changes`, made by triggers in the statement that writes, so
-- that a batch stays one statement. n grows in the order of commits and is never given out again. kind:
-- holdfast.stores.contract.ChangeKind. previous: the change that wrote the version before. before: that version itself,
-- where its change is in an earlier part (feed_parts) and may be gone before this one is.
CREATE TABLE changes (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    at REAL NOT NULL,
    kind INTEGER NOT NULL,
    previous INTEGER,
    last_accessed REAL,
    body BLOB NOT NULL,
    before BLOB
);

-- store: the name that its cursors carry. horizon: the earliest moment of which everything is known. trimmed: the last n
-- that is gone, or going. measured: up to which n the parts are measured.
CREATE TABLE feed (store TEXT NOT NULL, horizon REAL NOT NULL, trimmed INTEGER NOT NULL, measured INTEGER NOT NULL);
INSERT INTO feed
SELECT
    lower(hex(randomblob(8))),
    CASE WHEN EXISTS (SELECT 1 FROM sessions) THEN (julianday('now') - 2440587.5) * 86400.0 ELSE 0.0 END,
    0,
    0;

-- The feed goes part by part: first is the first n of one, ended_at the latest moment measured in it.
CREATE TABLE feed_parts (first INTEGER PRIMARY KEY, began_at REAL, ended_at REAL NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO feed_parts VALUES (1, NULL, 0.0, 0);

-- When the stored version was written, and by which change; NULL: before there was a feed.
ALTER TABLE sessions ADD COLUMN written_at REAL;
ALTER TABLE sessions ADD COLUMN changed INTEGER;

CREATE TRIGGER changes_note_what_comes AFTER INSERT ON sessions WHEN NEW.changed > 0 BEGIN
    INSERT INTO changes (n, id, at, kind, body) VALUES (NEW.changed, NEW.id, NEW.written_at, 0, NEW.body);
END;

CREATE TRIGGER changes_note_what_is_written AFTER UPDATE OF version ON sessions WHEN NEW.changed IS NOT OLD.changed BEGIN
    INSERT INTO changes (n, id, at, kind, previous, body, before)
    VALUES (
        NEW.changed,
        NEW.id,
        NEW.written_at,
        CASE WHEN NEW.state <> OLD.state THEN 2 WHEN NEW.term <> OLD.term THEN 3 ELSE 1 END,
        OLD.changed,
        NEW.body,
        CASE WHEN OLD.changed >= (SELECT max(first) FROM feed_parts) THEN NULL ELSE OLD.body END
    );
END;

-- What deletes puts rows here: of what kind the end is, and when, only the writer knows.
CREATE VIEW endings AS SELECT n, id, at, kind, previous, last_accessed, body FROM changes;

CREATE TRIGGER endings_take_their_session INSTEAD OF INSERT ON endings BEGIN
    INSERT INTO changes (n, id, at, kind, previous, last_accessed, body)
    VALUES (NEW.n, NEW.id, NEW.at, NEW.kind, NEW.previous, NEW.last_accessed, NEW.body);
    DELETE FROM sessions WHERE id = NEW.id;
END;

-- A process of an older schema that has the file open goes on as ever: what it writes has no change of its own yet. 0
-- stands for a session that a repair saved.
CREATE TRIGGER changes_note_what_comes_from_older AFTER INSERT ON sessions WHEN NEW.changed IS NULL BEGIN
    INSERT INTO changes (n, id, at, kind, body)
    VALUES (
        coalesce((SELECT max(n) FROM changes), (SELECT trimmed FROM feed)) + 1,
        NEW.id,
        (julianday('now') - 2440587.5) * 86400.0,
        0,
        NEW.body
    );
    UPDATE sessions
    SET (changed, written_at) = (SELECT n, at FROM changes ORDER BY n DESC LIMIT 1)
    WHERE id = NEW.id;
END;

CREATE TRIGGER changes_note_what_older_write AFTER UPDATE OF version ON sessions WHEN NEW.changed IS OLD.changed BEGIN
    INSERT INTO changes (n, id, at, kind, previous, body, before)
    VALUES (
        coalesce((SELECT max(n) FROM changes), (SELECT trimmed FROM feed)) + 1,
        NEW.id,
        max((julianday('now') - 2440587.5) * 86400.0, coalesce(OLD.written_at, 0.0)),
        CASE WHEN NEW.state <> OLD.state THEN 2 WHEN NEW.term <> OLD.term THEN 3 ELSE 1 END,
        OLD.changed,
        NEW.body,
        CASE WHEN OLD.changed >= (SELECT max(first) FROM feed_parts) THEN NULL ELSE OLD.body END
    );
    UPDATE sessions
    SET (changed, written_at) = (SELECT n, at FROM changes ORDER BY n DESC LIMIT 1)
    WHERE id = NEW.id;
END;

CREATE TRIGGER changes_note_what_older_delete AFTER DELETE ON sessions
WHEN NOT EXISTS (
    SELECT 1 FROM changes WHERE n = (SELECT max(n) FROM changes) AND id = OLD.id AND kind >= 4 AND previous IS OLD.changed
) BEGIN
    INSERT INTO changes (n, id, at, kind, previous, last_accessed, body)
    VALUES (
        coalesce((SELECT max(n) FROM changes), (SELECT trimmed FROM feed)) + 1,
        OLD.id,
        max((julianday('now') - 2440587.5) * 86400.0, coalesce(OLD.written_at, 0.0)),
        CASE WHEN OLD.deadline <= (julianday('now') - 2440587.5) * 86400.0 THEN 5 ELSE 4 END,
        OLD.changed,
        OLD.last_accessed,
        OLD.body
    );
END;
