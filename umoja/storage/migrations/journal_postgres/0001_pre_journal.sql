-- The journal of one market's money, in a schema of its own: one wide row for each bundle, never
-- changed, never removed. See the plan `journal` (SQLite) for what the columns mean.
CREATE TABLE journal (
  sequence bigint PRIMARY KEY CHECK (sequence > 0),
  id text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  source_before bigint NOT NULL,
  target_before bigint NOT NULL,
  moves bytea NOT NULL,
  story bytea NOT NULL
);

-- The newest checkpoint: state and companion as of `sequence`. The journal stays the truth.
CREATE TABLE checkpoint (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  sequence bigint NOT NULL,
  sha256 bytea NOT NULL
);

-- Where the ids of the lines from first to last stand. Folded from the journal, kept so that a
-- start need not read it all.
CREATE TABLE keys (
  first bigint PRIMARY KEY,
  last bigint NOT NULL,
  sha256 bytea NOT NULL
);

-- The bytes of checkpoints and keys in pieces: a single value may not pass a gigabyte, and no
-- message should be that long. They do not get smaller by compressing.
CREATE TABLE piece (
  owner text COLLATE "C" NOT NULL,
  place integer NOT NULL,
  bytes bytea NOT NULL,
  PRIMARY KEY (owner, place)
);
ALTER TABLE piece ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- Who may write. Each writer takes the next epoch; every commit locks this row and checks it.
-- `holder` says to people who it is, `token` to the program, `until` (microseconds since 1970) how
-- long the others leave it alone.
CREATE TABLE writer (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  epoch bigint NOT NULL,
  holder text NOT NULL,
  token text NOT NULL,
  until bigint NOT NULL
);
INSERT INTO writer (epoch, holder, token, until) VALUES (0, '', '', 0);
