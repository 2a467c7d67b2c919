-- Making good: batches of wrongs that two people decide to put right, line by line; and what was told
-- to customers. Orders' ids, amounts and counts: nobody's name or number.
-- Times are microseconds since 1970 UTC; 0: not yet.

CREATE TABLE batches (
    number      INTEGER PRIMARY KEY,
    incident    TEXT    NOT NULL,
    market      TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('drafted', 'released', 'done', 'withdrawn')),
    note        TEXT    NOT NULL,
    drafted_by  TEXT    NOT NULL,
    drafted_at  INTEGER NOT NULL,
    released_by TEXT    NOT NULL CHECK (released_by <> drafted_by),
    released_at INTEGER NOT NULL,
    ended_by    TEXT    NOT NULL,
    ended_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX batches_incident ON batches (incident, number);

CREATE TABLE batch_lines (
    batch        INTEGER NOT NULL,
    line         INTEGER NOT NULL,
    market       TEXT    NOT NULL,
    order_id     TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    act          TEXT    NOT NULL,
    product      TEXT    NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency     TEXT    NOT NULL,
    wronged_at   INTEGER NOT NULL,
    who          TEXT    NOT NULL,  -- a keyed hash
    is_sure      INTEGER NOT NULL,
    why          TEXT    NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN
                 ('drafted', 'released', 'unknown', 'waiting', 'done', 'declined', 'withdrawn')),
    reason       TEXT    NOT NULL,
    tries        INTEGER NOT NULL,
    next_at      INTEGER NOT NULL,
    ended_at     INTEGER NOT NULL,
    PRIMARY KEY (batch, line)
) STRICT, WITHOUT ROWID;
-- One wrong is in one batch at a time: whoever drafts it twice is refused here.
CREATE UNIQUE INDEX batch_lines_wrong ON batch_lines (market, order_id, kind)
    WHERE state <> 'declined' AND state <> 'withdrawn';
CREATE INDEX batch_lines_open ON batch_lines (next_at)
    WHERE state = 'released' OR state = 'unknown' OR state = 'waiting';

CREATE TABLE customer_notices (
    number      INTEGER PRIMARY KEY,
    incident    TEXT    NOT NULL,
    market      TEXT    NOT NULL,
    product     TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    told        INTEGER NOT NULL,
    told_before INTEGER NOT NULL,  -- who tried, and was told already by an earlier one
    unreachable INTEGER NOT NULL,
    sent_by     TEXT    NOT NULL,
    sent_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX customer_notices_incident ON customer_notices (incident, number);
