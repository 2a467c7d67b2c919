-- An incident's way from being investigated to being reviewed, and what people put down about it.
-- `state` stays what it was: open or resolved. Times are microseconds since 1970 UTC; 0: not yet.

ALTER TABLE incidents ADD COLUMN stage TEXT NOT NULL DEFAULT 'resolved';
ALTER TABLE incidents ADD COLUMN began_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE incidents ADD COLUMN acknowledged_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE incidents ADD COLUMN acknowledged_by TEXT NOT NULL DEFAULT '';
ALTER TABLE incidents ADD COLUMN identified_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE incidents ADD COLUMN mitigated_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE incidents ADD COLUMN reviewed_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE incidents ADD COLUMN parent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE incidents ADD COLUMN sheet TEXT NOT NULL DEFAULT '{}';  -- JSON
UPDATE incidents SET stage = 'investigating' WHERE state = 'open';
UPDATE incidents SET mitigated_at = resolved_at, began_at = opened_at;
CREATE INDEX incidents_opened ON incidents (opened_at);
