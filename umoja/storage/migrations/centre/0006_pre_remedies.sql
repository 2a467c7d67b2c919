-- Remedies: what the system may do by itself, who allowed it, and what was done and undone.
-- Times are microseconds since 1970 UTC; 0: not yet, or no end.

CREATE TABLE allowances (
    remedy     TEXT    NOT NULL,
    market     TEXT    NOT NULL,
    most_a_day INTEGER NOT NULL CHECK (most_a_day > 0),
    ends_at    INTEGER NOT NULL,
    allowed_by TEXT    NOT NULL,
    allowed_at INTEGER NOT NULL,
    PRIMARY KEY (remedy, market)
) STRICT, WITHOUT ROWID;

CREATE TABLE remedies (
    number    INTEGER PRIMARY KEY,
    incident  TEXT    NOT NULL,
    remedy    TEXT    NOT NULL,
    market    TEXT    NOT NULL,
    target    TEXT    NOT NULL,
    done_by   TEXT    NOT NULL,
    allowed_by TEXT   NOT NULL,
    done_at   INTEGER NOT NULL,
    undone_by TEXT    NOT NULL,
    undone_at INTEGER NOT NULL
) STRICT;
CREATE INDEX remedies_incident ON remedies (incident);
