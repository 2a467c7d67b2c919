-- A second factor of staff. No secret is in these tables: one is worked out from the salt here and
-- the key outside the database. Each goes with whom or what it belongs to.
-- Times are microseconds since 1970 UTC.

CREATE TABLE second_factors (
    name      TEXT    PRIMARY KEY REFERENCES staff (name) ON DELETE CASCADE,
    salt      BLOB    NOT NULL CHECK (length(salt) = 16),
    key_mark  BLOB    NOT NULL CHECK (length(key_mark) = 32),  -- of the key it was made with
    made_at   INTEGER NOT NULL,
    last_step INTEGER NOT NULL  -- of the newest code that was taken: none counts twice
) STRICT, WITHOUT ROWID;

CREATE TABLE recovery_codes (
    name   TEXT NOT NULL REFERENCES second_factors (name) ON DELETE CASCADE,
    digest BLOB NOT NULL CHECK (length(digest) = 32),  -- keyed
    PRIMARY KEY (name, digest)
) STRICT, WITHOUT ROWID;

-- Whose password was right, and whose code is waited for.
CREATE TABLE sign_ins (
    digest  BLOB    PRIMARY KEY CHECK (length(digest) = 32),
    name    TEXT    NOT NULL REFERENCES staff (name) ON DELETE CASCADE,
    made_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_ins_name ON sign_ins (name, made_at);

-- When a session last brought a code. A session of somebody who has a factor is none without.
CREATE TABLE session_codes (
    digest    BLOB    PRIMARY KEY REFERENCES sessions (digest) ON DELETE CASCADE,
    proved_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
