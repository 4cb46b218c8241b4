-- Schema 1; each later one is a step (schema_2.sql, ...). The body of a session (holdfast.codec.envelope) says what it
-- is; the columns are there to be searched. Infinity (9e999) stands for "never".
CREATE TABLE sessions (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    term INTEGER NOT NULL,
    last_accessed REAL NOT NULL,
    timeout REAL NOT NULL,
    expires_at REAL NOT NULL,
    deadline REAL GENERATED ALWAYS AS (min(last_accessed + timeout, expires_at)) VIRTUAL,
    owner TEXT,
    state TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX sessions_by_deadline ON sessions (deadline) WHERE deadline < 9e999;

-- kind: 0 opening, 1 message, 2 final (holdfast.stores.contract.Kind). n grows in the order of writing. bytes comes
-- before what it counts, and is stored, so that trimming reads no content.
CREATE TABLE journal (
    n INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    stream TEXT NOT NULL,
    term INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    at REAL NOT NULL,
    bytes INTEGER GENERATED ALWAYS AS (length(data) + length(request)) STORED,
    data BLOB NOT NULL,
    request BLOB NOT NULL,
    UNIQUE (session, stream, term, seq)
);
CREATE INDEX journal_by_age ON journal (kind, at);
CREATE INDEX journal_messages ON journal (session) WHERE kind = 1;
CREATE INDEX journal_ends ON journal (session, stream, kind) WHERE kind <> 1;

-- How many messages there are of a session, and their bytes: what trimming goes by, without looking at the journal.
CREATE TABLE journal_sizes (session INTEGER PRIMARY KEY, messages INTEGER NOT NULL, bytes INTEGER NOT NULL);

CREATE TRIGGER journal_counts_what_comes AFTER INSERT ON journal WHEN NEW.kind = 1 BEGIN
    INSERT INTO journal_sizes VALUES (NEW.session, 1, NEW.bytes)
    ON CONFLICT (session) DO UPDATE SET messages = messages + 1, bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER journal_counts_what_goes AFTER DELETE ON journal WHEN OLD.kind = 1 BEGIN
    UPDATE journal_sizes SET messages = messages - 1, bytes = bytes - OLD.bytes WHERE session = OLD.session;
END;

CREATE TRIGGER sessions_take_their_journal AFTER DELETE ON sessions BEGIN
    DELETE FROM journal WHERE session = OLD.n;
    DELETE FROM journal_sizes WHERE session = OLD.n;
END;

CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counters VALUES ('term', 0);
