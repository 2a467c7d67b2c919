-- Telling people: what the public status page says and has shown, and the regulators' clocks.
-- Times are microseconds since 1970 UTC; 0: it has not happened. No customer's data is in here.

CREATE TABLE status_messages (
    number       INTEGER PRIMARY KEY,
    incident     TEXT    NOT NULL,
    market       TEXT    NOT NULL,
    product      TEXT    NOT NULL,  -- '': all services
    kind         TEXT    NOT NULL,
    texts        TEXT    NOT NULL,  -- JSON, by language
    published_by TEXT    NOT NULL,
    published_at INTEGER NOT NULL,
    withdrawn_by TEXT    NOT NULL,
    withdrawn_at INTEGER NOT NULL
) STRICT;
CREATE INDEX status_messages_market ON status_messages (market, published_at);

-- For how many seconds of a market's day each service was shown in each state; the rest of the day
-- was not recorded. `seen_at`: when a payment of it was last seen to go well.
CREATE TABLE status_days (
    market  TEXT    NOT NULL,
    product TEXT    NOT NULL,
    day     TEXT    NOT NULL,
    working INTEGER NOT NULL,
    planned INTEGER NOT NULL,
    unclear INTEGER NOT NULL,
    partly  INTEGER NOT NULL,
    down    INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (market, product, day)
) STRICT, WITHOUT ROWID;

-- A duty to tell a regulator, as its rule stood when the clock began. It ends when the notice was
-- sent or a person says that none is required; never by itself.
CREATE TABLE regulator_clocks (
    number      INTEGER PRIMARY KEY,
    incident    TEXT    NOT NULL,
    market      TEXT    NOT NULL,
    rule        TEXT    NOT NULL,
    body        TEXT    NOT NULL,  -- JSON, the rule's own words
    began_at    INTEGER NOT NULL,
    counts_from INTEGER NOT NULL,
    due_at      INTEGER NOT NULL,
    warned      INTEGER NOT NULL,
    sent_at     INTEGER NOT NULL,
    sent_by     TEXT    NOT NULL,
    reference   TEXT    NOT NULL,
    waived_at   INTEGER NOT NULL,
    waived_by   TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    UNIQUE (incident, rule)
) STRICT;
