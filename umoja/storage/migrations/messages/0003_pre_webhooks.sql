-- The addresses at which clients of this market want to hear of payments, and what is on its way to
-- them. A body tells a payment as its client may see it: this file stays in that market.
-- Times are microseconds since 1970 UTC; 0: not yet.

CREATE TABLE webhooks (
    id           TEXT    PRIMARY KEY,
    client       TEXT    NOT NULL,
    organisation INTEGER NOT NULL,
    url          TEXT    NOT NULL CHECK (url <> ''),
    events       TEXT    NOT NULL CHECK (events <> ''),  -- with a blank between
    since_line   INTEGER NOT NULL,  -- it hears of the journal's lines behind this one
    made_at      INTEGER NOT NULL,
    deleted_at   INTEGER NOT NULL,
    failed       INTEGER NOT NULL CHECK (failed >= 0),  -- tries in a row
    rests_until  INTEGER NOT NULL,
    left_out     INTEGER NOT NULL CHECK (left_out >= 0)  -- events for which there was no room
) STRICT;
CREATE INDEX webhooks_client ON webhooks (client, made_at);

-- next_at: of a waiting one when it may be tried again. asked_at: from when its time to be given up
-- runs. done_at: when it was delivered for the first time.
CREATE TABLE deliveries (
    place    INTEGER PRIMARY KEY,
    webhook  TEXT    NOT NULL,
    event    TEXT    NOT NULL,  -- begins with the journal's line: events lie in its order
    kind     TEXT    NOT NULL,
    payment  TEXT    NOT NULL,
    body     BLOB    NOT NULL,
    state    TEXT    NOT NULL CHECK (state IN ('waiting', 'delivered', 'given_up')),
    tries    INTEGER NOT NULL CHECK (tries >= 0),
    status   INTEGER NOT NULL,  -- of the last answer; 0: there was none
    trouble  TEXT    NOT NULL,
    since    INTEGER NOT NULL,  -- when what it tells of happened
    asked_at INTEGER NOT NULL,
    tried_at INTEGER NOT NULL,
    done_at  INTEGER NOT NULL,
    next_at  INTEGER NOT NULL,
    UNIQUE (webhook, event)
) STRICT;
CREATE INDEX deliveries_open ON deliveries (webhook, next_at) WHERE state = 'waiting';

-- How far the journal was read for webhooks.
CREATE TABLE webhook_feed (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    sequence INTEGER NOT NULL CHECK (sequence >= 0)
) STRICT;
INSERT INTO webhook_feed (only, sequence) VALUES (1, 0);
