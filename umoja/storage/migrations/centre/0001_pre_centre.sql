-- The centre: incidents, staff and the audit log. No customer's data is in this file: marks are
-- keyed hashes folded into registers, which count people and name nobody.
-- Times are microseconds since 1970 UTC; 0 where it has not happened.

CREATE TABLE incidents (
    number      INTEGER PRIMARY KEY CHECK (number > 0),
    market      TEXT    NOT NULL,
    detector    TEXT    NOT NULL,
    scope       TEXT    NOT NULL,  -- the product its detector looks at alone; '': all of them
    counts      TEXT    NOT NULL,  -- which signals its impact is counted from
    product     TEXT    NOT NULL,  -- the one product that was harmed; '': several
    title       TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('open', 'resolved')),
    severity    INTEGER NOT NULL CHECK (severity BETWEEN 1 AND 4),
    opened_at   INTEGER NOT NULL,
    resolved_at INTEGER NOT NULL,
    payments    INTEGER NOT NULL CHECK (payments >= 0),
    customers   INTEGER NOT NULL CHECK (customers >= 0),
    value_minor TEXT    NOT NULL,  -- JSON, by currency
    impact      BLOB    NOT NULL,  -- from which counting goes on after a start
    CHECK ((state = 'resolved') = (resolved_at > 0))
) STRICT;
CREATE UNIQUE INDEX incidents_open ON incidents (market, detector, scope) WHERE state = 'open';
CREATE INDEX incidents_market ON incidents (market, number);

CREATE TABLE moments (
    incident INTEGER NOT NULL REFERENCES incidents (number),
    place    INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL,
    what     TEXT    NOT NULL,
    PRIMARY KEY (incident, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE staff (
    name       TEXT    PRIMARY KEY,
    password   TEXT    NOT NULL,  -- argon2id, with its salt and its costs
    roles      TEXT    NOT NULL,  -- JSON: market or '*' to a list of roles
    added_at   INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Only the digest of a session's token is kept.
CREATE TABLE sessions (
    digest  BLOB    PRIMARY KEY CHECK (length(digest) = 32),
    name    TEXT    NOT NULL REFERENCES staff (name),
    made_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_name ON sessions (name, made_at);

-- Every act of staff, chained: a digest covers its entry and the digest before it.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY CHECK (number > 0),
    at     INTEGER NOT NULL,
    actor  TEXT    NOT NULL,
    action TEXT    NOT NULL,
    market TEXT    NOT NULL,
    detail TEXT    NOT NULL,
    digest BLOB    NOT NULL CHECK (length(digest) = 32)
) STRICT;

-- How many entries there are and the digest of the last: entries cut off at the end are missed.
CREATE TABLE audit_head (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    entries INTEGER NOT NULL CHECK (entries >= 0),
    digest  BLOB    NOT NULL CHECK (length(digest) = 32)
) STRICT;
INSERT INTO audit_head (only, entries, digest) VALUES (1, 0, zeroblob(32));

-- What was counted of each market's business day, so that a start goes on from there.
CREATE TABLE days (
    market   TEXT    PRIMARY KEY,
    day      TEXT    NOT NULL,
    payments INTEGER NOT NULL CHECK (payments >= 0),
    moved    TEXT    NOT NULL  -- JSON, minor units by currency
) STRICT, WITHOUT ROWID;
