-- What was counted of each minute, of a whole market (product '') and of each product: for charts after
-- a start, for objectives and their budgets. `minute` is seconds since 1970 UTC at its beginning.
CREATE TABLE tallies (
    market   TEXT    NOT NULL,
    product  TEXT    NOT NULL,
    minute   INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    refused  INTEGER NOT NULL,  -- by the customer's own cause: balance, PIN, limits
    bad      INTEGER NOT NULL,  -- failed, or of unknown outcome
    body     BLOB    NOT NULL,  -- of a whole market: every column of its ring
    PRIMARY KEY (market, product, minute)
) STRICT, WITHOUT ROWID;
