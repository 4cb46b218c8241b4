-- Schema 1. The body of a session (holdfast.codec.envelope) says what it is; the columns are there to be searched.
-- Infinity (9e999) stands for "never".
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

-- kind: 0 opening, 1 message, 2 final (holdfast.stores.contract.Kind). n grows in the order of writing.
CREATE TABLE journal (
    n INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    stream TEXT NOT NULL,
    term INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    at REAL NOT NULL,
    data BLOB NOT NULL,
    request BLOB NOT NULL,
    bytes INTEGER GENERATED ALWAYS AS (length(data) + length(request)) VIRTUAL,
    UNIQUE (session, stream, term, seq)
);
CREATE INDEX journal_messages ON journal (at) WHERE kind = 1;
CREATE INDEX journal_ends ON journal (session, stream, kind) WHERE kind <> 1;

CREATE TRIGGER sessions_take_their_journal AFTER DELETE ON sessions BEGIN
    DELETE FROM journal WHERE session = OLD.n;
END;

CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counters VALUES ('term', 0);
