-- Schema 6. sealed: whether the data of an entry is sealed by a codec, with its request, which is empty then. What is
-- sealed may be sealed anew, which changes how long it is. What is kept to compress with lies beside it.
-- A process of an older schema that has the file open goes on writing in clear: its statements name their columns.
ALTER TABLE journal ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;

CREATE TRIGGER journal_counts_what_changes AFTER UPDATE OF data ON journal WHEN NEW.kind = 1 BEGIN
    UPDATE journal_sizes SET bytes = bytes + NEW.bytes - OLD.bytes WHERE session = NEW.session;
END;

CREATE TABLE dictionaries (n INTEGER PRIMARY KEY, body BLOB NOT NULL);
