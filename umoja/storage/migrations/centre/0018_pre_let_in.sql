-- When another person last let a member in: took her on, changed what she may do or took her second
-- factor away. For a while afterwards she neither drafts nor releases money. A table of its own, for
-- the program before this one adds staff without knowing of it. Microseconds since 1970 UTC.
CREATE TABLE let_in (
    name TEXT    PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
