-- The text messages of one market, with phones and texts: this file stays in that market.
-- next_at: of a waiting message when it may be tried again, of a sent one when its delivery
-- is given up, of an ended one when it ended. Times are microseconds since 1970 UTC.
CREATE TABLE messages (
    place       INTEGER PRIMARY KEY,  -- in the order of making
    id          TEXT    NOT NULL UNIQUE,
    phone       TEXT    NOT NULL CHECK (phone <> ''),
    text        TEXT    NOT NULL CHECK (text <> ''),
    kind        TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('waiting', 'sent', 'delivered', 'failed')),
    tries       INTEGER NOT NULL CHECK (tries >= 0),
    since       INTEGER NOT NULL,  -- when what it tells of happened
    made_at     INTEGER NOT NULL,
    sent_at     INTEGER NOT NULL,
    next_at     INTEGER NOT NULL,
    product     TEXT    NOT NULL,
    value_minor INTEGER NOT NULL,
    currency    TEXT    NOT NULL,
    payer_mark  INTEGER NOT NULL
) STRICT;
CREATE INDEX messages_state ON messages (state, next_at);

-- How far the journal was read: the sequence of the last line whose messages are in the table.
CREATE TABLE feed (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    sequence INTEGER NOT NULL CHECK (sequence >= 0)
) STRICT;
INSERT INTO feed (only, sequence) VALUES (1, 0);
