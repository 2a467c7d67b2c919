-- What comes in from other systems: their alerts, silences, the tokens of machines, vendors' pages.
-- Times are microseconds since 1970 UTC; 0: never, or not yet. Of a token only the digest is kept.

CREATE TABLE alerts (
    fingerprint TEXT    PRIMARY KEY,
    ends_at     INTEGER NOT NULL,
    body        TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE silences (
    id      TEXT    PRIMARY KEY,
    ends_at INTEGER NOT NULL,
    body    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE machine_tokens (
    number     INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    scopes     TEXT    NOT NULL,
    digest     BLOB    NOT NULL UNIQUE,
    made_by    TEXT    NOT NULL,
    made_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE vendor_pages (
    name       TEXT    PRIMARY KEY,
    url        TEXT    NOT NULL,
    markets    TEXT    NOT NULL,  -- codes with commas; empty: all
    added_by   TEXT    NOT NULL,
    read_at    INTEGER NOT NULL,
    trouble    TEXT    NOT NULL   -- why it could not be read; empty: it could
) STRICT, WITHOUT ROWID;
