-- Each committed batch has a seal, and old lines may move to files: see the plan `journal` (SQLite).
CREATE TABLE seals (
  last bigint PRIMARY KEY CHECK (last > 0),
  first bigint NOT NULL,
  digest bytea NOT NULL,
  epoch bigint NOT NULL,
  at bigint NOT NULL
);

ALTER TABLE writer ADD COLUMN unsealed bigint NOT NULL DEFAULT -1;

CREATE TABLE archives (
  last bigint PRIMARY KEY CHECK (last > 0),
  first bigint NOT NULL,
  file text NOT NULL,
  sha256 bytea NOT NULL,
  before bytea NOT NULL,
  after bytea NOT NULL,
  at bigint NOT NULL
);
