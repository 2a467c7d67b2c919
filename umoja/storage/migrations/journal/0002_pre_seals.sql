-- Each committed batch has a seal: a digest of its lines and of the seal before it.
CREATE TABLE seals (
  last INTEGER PRIMARY KEY,
  first INTEGER NOT NULL,
  digest BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  at INTEGER NOT NULL
) STRICT;

-- Lines up to this one were written before there were seals, and are sealed afterwards by the first
-- writer who knows of them; -1: not looked at yet. Every line behind it has its seal.
ALTER TABLE writer ADD COLUMN unsealed INTEGER NOT NULL DEFAULT -1;

-- Lines that were moved to a compressed file: a row stands here before any of them leaves the
-- journal. before and after are the chain's digests, sha256 is of the file's head.
CREATE TABLE archives (
  last INTEGER PRIMARY KEY,
  first INTEGER NOT NULL,
  file TEXT NOT NULL,
  sha256 BLOB NOT NULL,
  before BLOB NOT NULL,
  after BLOB NOT NULL,
  at INTEGER NOT NULL
) STRICT;
