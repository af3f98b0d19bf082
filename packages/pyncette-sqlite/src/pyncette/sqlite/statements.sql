-- {table} is the validated name of the table. Columns are in the order of the fields of pyncette.record.Record.
-- CAST(? AS TEXT): a text that is not UTF-8 is bound as a blob of its bytes.

-- name: read
SELECT queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state
FROM "{table}" WHERE queue = ? AND key = CAST(? AS TEXT);

-- name: insert
INSERT INTO "{table}" (queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: update
UPDATE "{table}"
SET due_at = ?, ready_at = ?, locked_until = ?, locked_by = ?, revision = ?, fence = ?, attempt = ?, state = ?
WHERE queue = ? AND key = CAST(? AS TEXT) AND revision = CAST(? AS TEXT);

-- name: update_spec
UPDATE "{table}"
SET due_at = ?, ready_at = ?, locked_until = ?, locked_by = ?, revision = ?, fence = ?, attempt = ?, state = ?, spec = ?
WHERE queue = ? AND key = CAST(? AS TEXT) AND revision = CAST(? AS TEXT);

-- name: delete
DELETE FROM "{table}" WHERE queue = ? AND key = CAST(? AS TEXT) AND revision = CAST(? AS TEXT);

-- name: lock
-- Changes nothing, but takes the write lock.
DELETE FROM "{table}" WHERE 0;

-- name: ready_claims
-- The positions of the claims that would get something.
SELECT wanted.key FROM json_each(:claims) AS wanted
WHERE EXISTS (
    SELECT 1 FROM "{table}"
    WHERE queue = wanted.value ->> 0 AND ready_at >= wanted.value ->> 1 AND ready_at < wanted.value ->> 2
);

-- name: claimed
-- The records that "claim" will update, as they were before: RETURNING would give the new values.
SELECT queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state
FROM "{table}" WHERE queue = :queue AND ready_at >= :since AND ready_at < :before ORDER BY ready_at LIMIT :limit;

-- name: claim
UPDATE "{table}"
SET ready_at = :until, locked_until = :until, locked_by = :holder, revision = :token,
    fence = max(min(fence, 9223372036854775806) + 1, :now), attempt = min(attempt, 2147483646) + 1
WHERE rowid IN (
    SELECT rowid FROM "{table}"
    WHERE queue = :queue AND ready_at >= :since AND ready_at < :before ORDER BY ready_at LIMIT :limit
);

-- name: scan
SELECT queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state
FROM "{table}"
WHERE queue = :queue AND key > CAST(:after AS TEXT) AND key >= CAST(:prefix AS TEXT) AND key < CAST(:beyond AS TEXT)
ORDER BY key LIMIT :limit;

-- name: scan_ready
SELECT queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state
FROM "{table}"
WHERE queue = :queue AND ready_at >= :since AND ready_at < :before AND (ready_at, key) > (:at, CAST(:after AS TEXT))
ORDER BY ready_at, key LIMIT :limit;

-- name: next_ready
SELECT min((
    SELECT min(ready_at) FROM "{table}"
    WHERE queue = wanted.value AND ready_at >= :since AND ready_at < 4611686018427387904
))
FROM json_each(:queues) AS wanted;

-- name: soon
-- The queues with something due up to a moment.
SELECT queue, first FROM (
    SELECT wanted.value AS queue, (
        SELECT min(ready_at) FROM "{table}"
        WHERE queue = wanted.value AND ready_at >= :since AND ready_at < 4611686018427387904
    ) AS first
    FROM json_each(:queues) AS wanted
) WHERE first <= :until;

-- name: moments
SELECT ready_at FROM "{table}"
WHERE queue = :queue AND ready_at >= :since AND ready_at <= :until AND ready_at < 4611686018427387904
ORDER BY ready_at LIMIT :limit;

-- name: queues
-- Jumps from one queue to the next without reading the rows in between.
WITH RECURSIVE found (queue) AS (
    SELECT min(queue) FROM "{table}" WHERE queue > :after
    UNION ALL
    SELECT (SELECT min(queue) FROM "{table}" WHERE queue > found.queue) FROM found WHERE found.queue IS NOT NULL
)
SELECT queue FROM found WHERE queue IS NOT NULL LIMIT :limit;

-- name: count
SELECT count(*) FROM (
    SELECT 1 FROM "{table}" WHERE queue = :queue AND ready_at >= :since AND ready_at < :before LIMIT :limit
);

-- name: log_run
INSERT INTO "{table}_runs" (ended_at, id, queue, key, outcome, text) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: runs
-- {conditions}: see run_log.py. An index has the remaining rows in the requested order.
SELECT id, queue, key, ended_at, outcome, text
FROM "{table}_runs"
WHERE ended_at >= :since AND ended_at < :before AND (ended_at, id) < (:at, :id) {conditions}
ORDER BY ended_at DESC, id DESC LIMIT :limit;

-- name: has_old_runs
SELECT EXISTS (SELECT 1 FROM "{table}_runs" WHERE ended_at < ?);

-- name: prune_runs
DELETE FROM "{table}_runs"
WHERE (ended_at, id) IN (SELECT ended_at, id FROM "{table}_runs" WHERE ended_at < ? ORDER BY ended_at, id LIMIT ?);
