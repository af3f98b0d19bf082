-- An ordinary table with rowids: rows with arguments of a kilobyte are claimed twice as fast as WITHOUT ROWID.
CREATE TABLE IF NOT EXISTS "{table}" (
    queue TEXT NOT NULL,
    key TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    ready_at INTEGER NOT NULL,
    locked_until INTEGER,
    locked_by TEXT,
    revision TEXT NOT NULL,
    fence INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    state TEXT NOT NULL,
    spec TEXT NOT NULL, -- the last one: what is long goes to pages that reading the others does not touch
    UNIQUE (queue, key)
) STRICT;

-- Of those that are ready at the same time the one that was stored first comes first.
CREATE INDEX IF NOT EXISTS "{table}_ready" ON "{table}" (queue, ready_at);
