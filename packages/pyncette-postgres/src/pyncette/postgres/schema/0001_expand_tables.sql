-- The numbers come first: they are aligned, so nothing is lost to padding.
CREATE TABLE {table} (
    due_at bigint NOT NULL,
    ready_at bigint NOT NULL,
    locked_until bigint,
    fence bigint NOT NULL,
    attempt bigint NOT NULL,
    queue text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    revision text COLLATE "C" NOT NULL,
    locked_by text COLLATE "C",
    state text COLLATE "C" NOT NULL,
    spec text COLLATE "C" NOT NULL,
    CONSTRAINT {key_index} PRIMARY KEY (queue, key)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);

-- With the key, so that a page continues after any record, and a claim can continue after the last one that it took. Without
-- what no record has, and so of no use to statements that do not ask for a time: where a queue has few records the server
-- would take it for finding one by its key as well, and stay with that when there are millions.
CREATE INDEX {ready_index} ON {table} (queue, ready_at, key) WHERE ready_at < 9223372036854775807;

-- Static tasks, each of which is a separate queue.
CREATE INDEX {static_index} ON {table} (ready_at) WHERE queue = key;

-- The log of runs, a separate table, so that it keeps no claim waiting whatever its size. Most runs succeed, so those
-- that did not have indexes of their own.
CREATE TABLE IF NOT EXISTS {runs} (
    ended_at bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    text text COLLATE "C" NOT NULL,
    PRIMARY KEY (ended_at, id)
);

CREATE INDEX IF NOT EXISTS {runs_queue_index} ON {runs} (queue, ended_at, id);

CREATE INDEX IF NOT EXISTS {runs_key_index} ON {runs} (key, ended_at, id);

CREATE INDEX IF NOT EXISTS {runs_failed_index} ON {runs} (ended_at, id) WHERE outcome <> 'succeeded';

CREATE INDEX IF NOT EXISTS {runs_queue_failed_index} ON {runs} (queue, ended_at, id) WHERE outcome <> 'succeeded';
