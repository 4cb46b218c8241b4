-- Schema 2. origin: the number, at the keeper, of the worker's frame that an entry came from; 0: none. A process of
-- schema 1 that has the file open goes on writing: its statements name their columns, and its entries have none.
ALTER TABLE journal ADD COLUMN origin INTEGER NOT NULL DEFAULT 0;
CREATE INDEX journal_origins ON journal (session, origin) WHERE origin > 0;
