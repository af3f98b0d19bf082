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

-- The log of runs. Most runs succeed, so those that did not have indexes of their own.
CREATE TABLE IF NOT EXISTS "{table}_runs" (
    ended_at INTEGER NOT NULL,
    id TEXT NOT NULL,
    queue TEXT NOT NULL,
    key TEXT NOT NULL,
    outcome TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (ended_at, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS "{table}_runs_queue" ON "{table}_runs" (queue, ended_at, id);

CREATE INDEX IF NOT EXISTS "{table}_runs_key" ON "{table}_runs" (key, ended_at, id);

CREATE INDEX IF NOT EXISTS "{table}_runs_failed" ON "{table}_runs" (ended_at, id) WHERE outcome <> 'succeeded';

CREATE INDEX IF NOT EXISTS "{table}_runs_queue_failed" ON "{table}_runs" (queue, ended_at, id) WHERE outcome <> 'succeeded';
