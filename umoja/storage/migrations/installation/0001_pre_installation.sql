-- What this installation is: a sandbox with simulated people, production, or a copy that is not
-- finished. It stands beside the clients, once for all markets.
CREATE TABLE installation (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    kind TEXT    NOT NULL CHECK (kind IN ('sandbox', 'production', 'copying')),
    made_at INTEGER NOT NULL
) STRICT;
