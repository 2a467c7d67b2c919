-- On-call: rosters and chains as JSON, who stands in, how people are reached, and the pages sent.
-- Times are microseconds since 1970 UTC; 0: not yet. Of secrets in links only the digest is kept.

CREATE TABLE rosters (
    name TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE chains (
    name TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE overrides (
    number     INTEGER PRIMARY KEY,
    roster     TEXT    NOT NULL,
    person     TEXT    NOT NULL,
    instead_of TEXT    NOT NULL,
    starts_at  INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL,
    made_by    TEXT    NOT NULL,
    why        TEXT    NOT NULL,
    removed_at INTEGER NOT NULL,
    CHECK (ends_at > starts_at)
) STRICT;

-- A swap that one person has offered and the other has not answered.
CREATE TABLE swaps (
    number     INTEGER PRIMARY KEY,
    roster     TEXT    NOT NULL,
    asked_by   TEXT    NOT NULL,
    asked_of   TEXT    NOT NULL,
    starts_at  INTEGER NOT NULL,  -- the shift given away
    ends_at    INTEGER NOT NULL,
    back_starts_at INTEGER NOT NULL,  -- the shift taken for it
    back_ends_at   INTEGER NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('offered', 'taken', 'refused'))
) STRICT;

CREATE TABLE contacts (
    name    TEXT PRIMARY KEY,
    email   TEXT NOT NULL,
    phone   TEXT NOT NULL,
    market  TEXT NOT NULL,  -- whose SMS route reaches the phone
    webhook TEXT NOT NULL,
    secret  TEXT NOT NULL,  -- signs what goes to the webhook
    zone    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pursuits (
    incident TEXT    PRIMARY KEY,
    chain    TEXT    NOT NULL,  -- as it was when the incident was opened
    step     INTEGER NOT NULL,
    round    INTEGER NOT NULL,
    next_at  INTEGER NOT NULL,
    ended_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pages (
    number   INTEGER PRIMARY KEY,
    incident TEXT    NOT NULL,
    person   TEXT    NOT NULL,
    via      TEXT    NOT NULL,
    digest   BLOB    NOT NULL,
    made_at  INTEGER NOT NULL,
    sent_at  INTEGER NOT NULL,
    tries    INTEGER NOT NULL,
    state    TEXT    NOT NULL CHECK (state IN ('waiting', 'sent', 'failed', 'acknowledged')),
    trouble  TEXT    NOT NULL
) STRICT;
CREATE INDEX pages_incident ON pages (incident);
CREATE INDEX pages_digest ON pages (digest);

CREATE TABLE handovers (
    number   INTEGER PRIMARY KEY,
    roster   TEXT    NOT NULL,
    given_by TEXT    NOT NULL,
    taken_by TEXT    NOT NULL,
    made_at  INTEGER NOT NULL,
    taken_at INTEGER NOT NULL,
    body     TEXT    NOT NULL
) STRICT;

CREATE TABLE calendars (
    digest     BLOB    PRIMARY KEY,
    roster     TEXT    NOT NULL,
    person     TEXT    NOT NULL,
    made_at    INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
