-- When another person last let a member in: took her on, changed what she may do, set her password or
-- took her second factor away. Microseconds since 1970 UTC; 0: nobody did. For a while afterwards she
-- neither drafts nor releases money.
ALTER TABLE staff ADD COLUMN let_in_at INTEGER NOT NULL DEFAULT 0;
