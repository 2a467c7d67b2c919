-- Planned work: what is touched, by whom, from when to when; once, or each week in local time.
-- Times are microseconds since 1970 UTC. The body is JSON, and says all of it.

CREATE TABLE planned_works (
    number  INTEGER PRIMARY KEY,
    market  TEXT    NOT NULL,  -- '*': every market
    ends_at INTEGER NOT NULL,  -- of the last time that it is done
    body    TEXT    NOT NULL
) STRICT;
CREATE INDEX planned_works_ends ON planned_works (ends_at);
