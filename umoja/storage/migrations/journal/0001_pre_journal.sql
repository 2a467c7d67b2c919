-- The journal of one market's money: one wide row for each bundle, never changed, never removed.
-- transfers and opens are msgpack; the story is the owner's. source and target are the accounts
-- of the leading transfer, so that a statement reads newest first along one index.
CREATE TABLE journal (
  sequence INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  at INTEGER NOT NULL,
  source INTEGER NOT NULL,
  target INTEGER NOT NULL,
  moves BLOB NOT NULL,
  story BLOB NOT NULL
) STRICT;
CREATE INDEX journal_source ON journal (source) WHERE source <> 0;
CREATE INDEX journal_target ON journal (target) WHERE target <> 0;

-- The newest checkpoint: state and companion as of `sequence`. The journal stays the truth.
CREATE TABLE checkpoint (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  sequence INTEGER NOT NULL,
  state BLOB NOT NULL,
  companion BLOB NOT NULL,
  sha256 BLOB NOT NULL
) STRICT;

-- Who may write: each writer takes the next epoch and checks it in every commit.
CREATE TABLE writer (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  epoch INTEGER NOT NULL
) STRICT;
INSERT INTO writer (only, epoch) VALUES (1, 0);
