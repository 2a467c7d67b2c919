-- The journal of one market's money: one wide row for each bundle, never changed, never removed.
-- moves are msgpack (transfers and opened accounts); the story is the owner's. source_before and
-- target_before are the lines before this one whose leading transfer has the same accounts: a
-- statement walks along them. Ids have no index: where an id stands is folded into memory.
CREATE TABLE journal (
  sequence INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  at INTEGER NOT NULL,
  source_before INTEGER NOT NULL,
  target_before INTEGER NOT NULL,
  moves BLOB NOT NULL,
  story BLOB NOT NULL
) STRICT;

-- The newest checkpoint: state and companion as of `sequence`. The journal stays the truth.
CREATE TABLE checkpoint (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  sequence INTEGER NOT NULL,
  state BLOB NOT NULL,
  companion BLOB NOT NULL,
  sha256 BLOB NOT NULL
) STRICT;

-- Where the ids of the lines from first to last stand: digests in order, and lines counted from
-- first. Folded from the journal, kept so that a start need not read it all.
CREATE TABLE keys (
  first INTEGER PRIMARY KEY,
  last INTEGER NOT NULL,
  digests BLOB NOT NULL,
  lines BLOB NOT NULL,
  sha256 BLOB NOT NULL
) STRICT;

-- Who may write: each writer takes the next epoch and checks it in every commit.
CREATE TABLE writer (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  epoch INTEGER NOT NULL
) STRICT;
INSERT INTO writer (only, epoch) VALUES (1, 0);
