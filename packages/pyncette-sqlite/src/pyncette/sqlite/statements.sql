-- Each statement is named; {table} is the validated name of the table.
-- Columns are in the order of the fields of pyncette.record.Record.

-- name: create_versions
CREATE TABLE IF NOT EXISTS pyncette_schema (
    table_name TEXT NOT NULL COLLATE NOCASE PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- name: create_table
-- An ordinary table with rowids: rows with arguments of a kilobyte are claimed twice as fast as WITHOUT ROWID.
CREATE TABLE "{table}" (
    queue TEXT NOT NULL,
    key TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    ready_at INTEGER NOT NULL,
    locked_until INTEGER,
    locked_by TEXT,
    revision TEXT NOT NULL,
    fence INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    spec TEXT NOT NULL,
    UNIQUE (queue, key)
) STRICT;

-- name: create_index
-- Of those that are ready at the same time the one that was stored first comes first.
CREATE INDEX "{table}_ready" ON "{table}" (queue, ready_at);

-- name: columns
SELECT name FROM pragma_table_info('{table}');

-- name: has_versions
SELECT 1 FROM sqlite_master WHERE name = 'pyncette_schema';

-- name: read_version
SELECT version FROM pyncette_schema WHERE table_name = '{table}';

-- name: write_version
INSERT INTO pyncette_schema (table_name, version) VALUES ('{table}', ?)
ON CONFLICT (table_name) DO UPDATE SET version = excluded.version;

-- name: read
SELECT queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec
FROM "{table}" WHERE queue = ? AND key = ?;

-- name: insert
INSERT INTO "{table}" (queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: update
UPDATE "{table}"
SET due_at = ?, ready_at = ?, locked_until = ?, locked_by = ?, revision = ?, fence = ?, attempt = ?, spec = ?
WHERE queue = ? AND key = ? AND revision = ?;

-- name: delete
DELETE FROM "{table}" WHERE queue = ? AND key = ? AND revision = ?;

-- name: ready_queues
SELECT wanted.key FROM json_each(:queues) AS wanted
WHERE EXISTS (SELECT 1 FROM "{table}" WHERE queue = wanted.value AND ready_at <= :now);

-- name: due
SELECT queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec
FROM "{table}" WHERE queue = :queue AND ready_at <= :now ORDER BY ready_at LIMIT :limit;

-- name: claimed
-- The records that "claim" is going to write, as they will be: RETURNING would lose the order.
SELECT queue, key, due_at, :until, :until, :holder, :token, max(fence + 1, :now), attempt + 1, spec
FROM "{table}" WHERE queue = :queue AND ready_at <= :now ORDER BY ready_at LIMIT :limit;

-- name: claim
UPDATE "{table}"
SET ready_at = :until, locked_until = :until, locked_by = :holder, revision = :token,
    fence = max(fence + 1, :now), attempt = attempt + 1
WHERE rowid IN (
    SELECT rowid FROM "{table}" WHERE queue = :queue AND ready_at <= :now ORDER BY ready_at LIMIT :limit
);

-- name: scan
SELECT queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec
FROM "{table}" WHERE queue = ? AND key > ? ORDER BY key LIMIT ?;

-- name: next_ready
SELECT min((SELECT min(ready_at) FROM "{table}" WHERE queue = wanted.value AND ready_at > :after))
FROM json_each(:queues) AS wanted;
