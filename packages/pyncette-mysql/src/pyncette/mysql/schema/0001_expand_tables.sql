-- The log of runs, a separate table, so that it keeps no claim waiting whatever its size.
CREATE TABLE IF NOT EXISTS {runs} (
    ended_at BIGINT NOT NULL,
    id VARBINARY(255) NOT NULL,
    queue VARBINARY(1024) NOT NULL,
    `key` VARBINARY(1024) NOT NULL,
    outcome VARBINARY(255) NOT NULL,
    text LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    PRIMARY KEY (ended_at, id),
    KEY queue (queue, ended_at, id),
    KEY instance (`key`, ended_at, id),
    KEY outcome (outcome, ended_at, id),
    KEY queue_outcome (queue, outcome, ended_at, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC COMMENT = 'Runs of tasks of Pyncette.';

-- Names are bytes, so that those that differ in case, accents or trailing spaces are different.
-- `was` is what a claim has replaced, which its answer needs.
CREATE TABLE {table} (
    queue VARBINARY(1024) NOT NULL,
    `key` VARBINARY(1024) NOT NULL,
    due_at BIGINT NOT NULL,
    ready_at BIGINT NOT NULL,
    locked_until BIGINT NULL,
    locked_by VARBINARY(255) NULL,
    revision VARBINARY(255) NOT NULL,
    fence BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    spec LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    state LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    was VARBINARY(1200) NULL,
    PRIMARY KEY (queue, `key`),
    KEY due (queue, ready_at, `key`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC COMMENT = {format};
