-- How far each table was copied into this database: the key of the last row, as msgpack.
CREATE TABLE copied (
    name TEXT    PRIMARY KEY,
    place BLOB   NOT NULL,
    rows INTEGER NOT NULL CHECK (rows >= 0)
) STRICT, WITHOUT ROWID;
