-- Reminders of regulators' clocks that run out, in which language staff are paged, and how busy each
-- market is. Times are microseconds since 1970 UTC; 0: not yet.

ALTER TABLE contacts ADD COLUMN language TEXT NOT NULL DEFAULT 'en';

-- One for each mark that a clock passes. It is pursued like an incident, whoever has acknowledged
-- that one, until somebody takes the reminder or the clock ends.
CREATE TABLE reminders (
    number    INTEGER PRIMARY KEY,
    clock     INTEGER NOT NULL,
    mark      INTEGER NOT NULL,
    incident  TEXT    NOT NULL,
    recipient TEXT    NOT NULL,
    due_at    INTEGER NOT NULL,
    due       TEXT    NOT NULL,  -- the same in the market's time, as people read it
    chain     TEXT    NOT NULL,
    step      INTEGER NOT NULL,
    round     INTEGER NOT NULL,
    next_at   INTEGER NOT NULL,
    ended_at  INTEGER NOT NULL,
    taken_by  TEXT    NOT NULL,
    UNIQUE (clock, mark)
) STRICT;

ALTER TABLE pages ADD COLUMN reminder INTEGER NOT NULL DEFAULT 0;  -- 0: of the incident itself

-- What came in each market against the curve of its days, both fading over a week.
CREATE TABLE levels (
    market  TEXT    PRIMARY KEY,
    came    REAL    NOT NULL,
    usual   REAL    NOT NULL,
    minutes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
