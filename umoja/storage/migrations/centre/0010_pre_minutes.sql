-- What every market did in each minute, by flow, product, channel, partner and cell; kept 400 days.
-- A minute without a row is one in which the market was not heard: blind, and never good.

CREATE TABLE minutes (
    market  TEXT    NOT NULL,
    minute  INTEGER NOT NULL,  -- since 1970 UTC
    counted BLOB    NOT NULL,  -- keys and their counts, packed and compressed
    PRIMARY KEY (market, minute)
) STRICT, WITHOUT ROWID;
CREATE INDEX minutes_minute ON minutes (minute);
