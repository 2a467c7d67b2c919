-- Only what is open is looked for by its time: an index of all that was ever delivered costs more
-- than the messages. An OR and not an IN, for SQLite to see that "state = 'waiting'" is inside it.
CREATE INDEX messages_open ON messages (next_at) WHERE state = 'waiting' OR state = 'sent';
DROP INDEX messages_state;
