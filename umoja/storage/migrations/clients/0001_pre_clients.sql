-- The programs that may call the API of one market, and the tokens they hold. Only digests are kept.

CREATE TABLE clients (
    id           TEXT    PRIMARY KEY,
    name         TEXT    NOT NULL,
    secret_hash  BLOB    NOT NULL CHECK (length(secret_hash) = 32),
    scopes       TEXT    NOT NULL,
    market       TEXT    NOT NULL,
    organisation INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    revoked_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    hash       BLOB    PRIMARY KEY CHECK (length(hash) = 32),
    client     TEXT    NOT NULL REFERENCES clients (id),
    scopes     TEXT    NOT NULL,
    made_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tokens_expiry ON tokens (expires_at);
CREATE INDEX tokens_client ON tokens (client, made_at);
