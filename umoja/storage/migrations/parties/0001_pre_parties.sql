-- The parties of one market and the hashes of their PINs. The key of the hashes is not in this file.

CREATE TABLE parties (
    id              INTEGER PRIMARY KEY CHECK (id >= 1000),
    role            TEXT    NOT NULL
        CHECK (role IN ('customer', 'dealer', 'agent', 'assistant', 'organisation')),
    name            TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
    phone           TEXT    NOT NULL,
    tier            TEXT    NOT NULL,
    language        TEXT    NOT NULL,
    status          TEXT    NOT NULL CHECK (status IN ('active', 'suspended', 'closed')),
    identity_kind   TEXT    NOT NULL,
    identity_number TEXT    NOT NULL,
    parent          INTEGER REFERENCES parties (id),
    agent_code      TEXT    NOT NULL,
    till            TEXT    NOT NULL,
    paybill         TEXT    NOT NULL,
    operator_code   TEXT    NOT NULL,
    plan            TEXT    NOT NULL,
    category        TEXT    NOT NULL,
    sim_swapped_at  INTEGER NOT NULL,
    registered_at   INTEGER NOT NULL,
    CHECK ((role = 'assistant') = (operator_code <> '')),
    CHECK (role <> 'assistant' OR parent IS NOT NULL),
    CHECK ((identity_kind = '') = (identity_number = ''))
) STRICT;

-- A number that its holder gave up may be given to somebody else: a closed party does not hold it.
CREATE UNIQUE INDEX parties_phone ON parties (phone)
    WHERE phone <> '' AND status <> 'closed' AND role IN ('customer', 'dealer', 'agent');

-- Codes are printed on walls: they stay with whoever had them first, closed or not.
CREATE UNIQUE INDEX parties_agent_code ON parties (agent_code) WHERE agent_code <> '';
CREATE UNIQUE INDEX parties_till ON parties (till) WHERE till <> '';
CREATE UNIQUE INDEX parties_paybill ON parties (paybill) WHERE paybill <> '';
CREATE UNIQUE INDEX parties_operator_code ON parties (parent, operator_code)
    WHERE operator_code <> '';
CREATE INDEX parties_parent ON parties (parent) WHERE parent IS NOT NULL;
CREATE INDEX parties_role ON parties (role, id);

CREATE TABLE pins (
    party  INTEGER PRIMARY KEY REFERENCES parties (id),
    salt   BLOB    NOT NULL CHECK (length(salt) = 16),
    hash   BLOB    NOT NULL CHECK (length(hash) = 32),
    tries  INTEGER NOT NULL CHECK (tries >= 0),
    set_at INTEGER NOT NULL
) STRICT;

-- What the right key makes of a known text: a wrong key is found before it locks everybody out.
CREATE TABLE pin_key (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    mark BLOB NOT NULL
) STRICT;

-- How many short codes of a kind were allotted by the program itself.
CREATE TABLE allotted (
    kind  TEXT    PRIMARY KEY,
    codes INTEGER NOT NULL CHECK (codes >= 0)
) STRICT, WITHOUT ROWID;
