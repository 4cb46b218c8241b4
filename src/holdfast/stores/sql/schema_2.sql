-- Schema 2. origin: the number, at the keeper, of the worker's frame that an entry came from; 0: none. It is looked for
-- in the indexes there are, which hold it beside what they are for: one of its own would make appends a fifth slower.
-- A process of schema 1 that has the file open goes on writing: its statements name their columns.
ALTER TABLE journal ADD COLUMN origin INTEGER NOT NULL DEFAULT 0;
DROP INDEX journal_messages;
CREATE INDEX journal_messages ON journal (session, n, kind, origin) WHERE kind = 1;
DROP INDEX journal_ends;
CREATE INDEX journal_ends ON journal (session, stream, kind, origin) WHERE kind <> 1;
