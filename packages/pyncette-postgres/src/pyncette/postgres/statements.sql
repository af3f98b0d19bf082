-- {table} is the quoted name of the table. Every statement here is one implicit transaction.
-- The index of ready times is partial: it excludes 9223372036854775807, a value that never occurs. So the server can use it
-- only for statements that exclude this value too, and for no others. From 4611686018427387904 on, records are held.

-- name: read
SELECT g.place, t.queue, t.key, t.due_at, t.ready_at, t.locked_until, t.locked_by, t.revision, t.fence, t.attempt, t.spec, t.state
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS g (queue, key, place)
JOIN {table} AS t ON t.queue = g.queue AND t.key = g.key

-- name: swap
-- Locks rows first, and never waits for a lock: a row that another transaction has locked is busy, and the others proceed. A
-- row whose revision has changed in the meantime stays unchanged. `old` is null in an insert, `revision` in a delete, `spec`
-- if it is unchanged. Only an insert may have to wait, for another transaction's insert, until lock_timeout.
WITH given AS MATERIALIZED (
    SELECT *
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[],
        $9::bigint[], $10::bigint[], $11::text[], $12::text[]
    ) WITH ORDINALITY AS g (
        queue, key, old, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state, place
    )
),
held AS MATERIALIZED (
    {held}
),
busy AS (
    {busy}
),
updated AS (
    UPDATE {table} AS t
    SET due_at = h.due_at, ready_at = h.ready_at, locked_until = h.locked_until, locked_by = h.locked_by,
        revision = h.revision, fence = h.fence, attempt = h.attempt, spec = coalesce(h.spec, t.spec), state = h.state
    FROM held AS h
    WHERE t.ctid = h.row AND h.revision IS NOT NULL
    RETURNING t.key
),
deleted AS (
    DELETE FROM {table} AS t
    USING held AS h
    WHERE t.ctid = h.row AND h.revision IS NULL
    RETURNING t.key
),
inserted AS (
    INSERT INTO {table} (queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state)
    SELECT queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state
    FROM given
    WHERE old IS NULL
    ORDER BY place
    ON CONFLICT {conflicting}
    RETURNING key
){logged}
SELECT key, true AS applied FROM updated
UNION ALL
SELECT key, true FROM deleted
UNION ALL
SELECT key, true FROM inserted
UNION ALL
SELECT key, false FROM busy

-- `swap` with deletions only, which is how one-off instances end: nine fewer columns to send and to unpack.
-- name: delete
WITH given AS MATERIALIZED (
    SELECT *
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS g (queue, key, old, place)
),
held AS MATERIALIZED (
    {held}
),
busy AS (
    {busy}
),
deleted AS (
    DELETE FROM {table} AS t
    USING held AS h
    WHERE t.ctid = h.row
    RETURNING t.key
)
SELECT key, true AS applied FROM deleted
UNION ALL
SELECT key, false FROM busy

-- name: busy
SELECT g.key
FROM given AS g
CROSS JOIN LATERAL (
    SELECT FROM {table} AS t WHERE t.queue = g.queue AND t.key = g.key AND t.revision = g.old
) AS r
WHERE (SELECT count(*) FROM held) < (SELECT count(*) FROM given WHERE old IS NOT NULL)
    AND g.old IS NOT NULL AND NOT g.place = ANY (SELECT h.place FROM held AS h)

-- name: hold_what_is_free
SELECT g.*, r.row
FROM given AS g
CROSS JOIN LATERAL (
    SELECT t.ctid AS row
    FROM {table} AS t
    WHERE t.queue = g.queue AND t.key = g.key AND t.revision = g.old
    FOR UPDATE SKIP LOCKED
) AS r
WHERE g.old IS NOT NULL

-- name: pass_by
DO NOTHING

-- In a caller's transaction, locks stay until its end. Fails on the first row that another transaction has locked. Also locks
-- rows that conflict with a change, which would otherwise have to be locked after rows with greater keys.
-- name: hold_in_order
SELECT g.*, r.row
FROM given AS g
CROSS JOIN LATERAL (
    SELECT t.ctid AS row, t.revision AS found
    FROM {table} AS t
    WHERE t.queue = g.queue AND t.key = g.key
    FOR UPDATE NOWAIT
) AS r
WHERE g.old IS NOT NULL AND r.found = g.old

-- Locks the row without changing it.
-- name: hold_too
(queue, key) DO UPDATE SET attempt = excluded.attempt WHERE false

-- name: logged
-- The part of `swap` for changes with a line for the log of runs, which is appended if and only if the change is applied.
, logged AS (
    INSERT INTO {runs} (ended_at, id, queue, key, outcome, text)
    SELECT r.ended_at, r.id, r.queue, r.key, r.outcome, r.text
    FROM unnest($13::text[], $14::bigint[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[])
        AS r (changed, ended_at, id, queue, key, outcome, text)
    WHERE r.changed IN (SELECT key FROM updated UNION ALL SELECT key FROM deleted UNION ALL SELECT key FROM inserted)
    ORDER BY r.ended_at, r.id
    ON CONFLICT DO NOTHING
)

-- name: claim
-- The small index of static tasks first excludes static queues with nothing ready. The remaining queues are read one after
-- another, row by row, until enough records are found, so that no row is locked that isn't claimed. Each queue is read from
-- its place on, which skips the dead entries that an old transaction keeps in the index. Returns the records as they were.
WITH wanted AS (
    SELECT w.place, w.queue, w.most, w.until, w.since, w.after, w.before
    FROM unnest($1::text[], $2::bool[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[])
        WITH ORDINALITY AS w (queue, static, most, until, since, after, before, place)
    WHERE NOT w.static OR w.queue IN (SELECT s.queue FROM {table} AS s WHERE s.queue = s.key AND s.ready_at <= $8)
    ORDER BY w.place
),
held AS MATERIALIZED (
    SELECT w.place, w.until, r.*
    FROM wanted AS w
    CROSS JOIN LATERAL (
        SELECT t.ctid AS row, t.queue, t.key, t.due_at, t.ready_at, t.locked_until, t.locked_by, t.revision, t.fence, t.attempt, t.spec, t.state
        FROM {table} AS t
        WHERE t.queue = w.queue AND t.ready_at >= w.since AND t.ready_at < w.before
            AND (t.ready_at, t.key) > (w.since, w.after) AND t.ready_at < 9223372036854775807
        ORDER BY t.ready_at, t.key
        LIMIT w.most
        FOR UPDATE SKIP LOCKED
    ) AS r
    LIMIT $9
),
claimed AS (
    UPDATE {table} AS t
    SET ready_at = h.until, locked_until = h.until, locked_by = $11, revision = $10,
        fence = greatest(least(t.fence, 9223372036854775806) + 1, $8), attempt = least(t.attempt, 2147483646) + 1
    FROM held AS h
    WHERE t.ctid = h.row
    RETURNING h.place, h.queue, h.key, h.due_at, h.ready_at, h.locked_until, h.locked_by, h.revision, h.fence, h.attempt, h.spec, h.state
)
SELECT queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state
FROM claimed
ORDER BY place, ready_at

-- name: scan
SELECT queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state
FROM {table}
WHERE queue = $1 AND key > $2 AND key >= $3 AND key < $4
ORDER BY key
LIMIT $5

-- name: scan_ready
SELECT queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state
FROM {table}
WHERE queue = $1 AND ready_at >= $2 AND ready_at < $3 AND ready_at < 9223372036854775807 AND (ready_at, key) > ($4, $5)
ORDER BY ready_at, key
LIMIT $6

-- name: look
-- One row with the answers about time, repeated for each requested record. Only queues whose first moment is near are read
-- any further.
WITH first AS MATERIALIZED (
    SELECT w.queue, r.ready_at
    FROM unnest($1::text::text[]) AS w (queue)
    CROSS JOIN LATERAL (
        SELECT t.ready_at
        FROM {table} AS t
        WHERE t.queue = w.queue AND t.ready_at >= $3 AND t.ready_at < 4611686018427387904
            AND t.ready_at < 9223372036854775807
        ORDER BY t.ready_at
        LIMIT 1
    ) AS r
),
soon AS MATERIALIZED (
    SELECT f.queue, r.ready_at
    FROM first AS f
    CROSS JOIN LATERAL (
        SELECT t.ready_at
        FROM {table} AS t
        WHERE t.queue = f.queue AND t.ready_at >= $3 AND t.ready_at <= $6 AND t.ready_at < 4611686018427387904
            AND t.ready_at < 9223372036854775807
        ORDER BY t.ready_at
        LIMIT $7
    ) AS r
    WHERE f.ready_at <= $6
    UNION ALL
    SELECT s.queue, s.ready_at
    FROM {table} AS s
    WHERE s.queue = s.key AND s.ready_at >= $3 AND s.ready_at <= $6 AND s.ready_at < 4611686018427387904
        AND s.queue = ANY ($2::text[]) AND cardinality($2) > 0
)
SELECT
    least(
        (SELECT min(f.ready_at) FROM first AS f),
        (
            SELECT s.ready_at
            FROM {table} AS s
            WHERE s.queue = s.key AND s.ready_at >= $3 AND s.ready_at < 4611686018427387904
                AND s.queue = ANY ($2::text[]) AND cardinality($2) > 0
            ORDER BY s.ready_at
            LIMIT 1
        )
    ) AS next_ready,
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now, given.queues, given.moments, g.place,
    t.queue, t.key, t.due_at, t.ready_at, t.locked_until, t.locked_by, t.revision, t.fence, t.attempt, t.spec, t.state
FROM (
    SELECT array_agg(s.queue ORDER BY s.ready_at) AS queues, array_agg(s.ready_at ORDER BY s.ready_at) AS moments
    FROM soon AS s
) AS given
LEFT JOIN unnest($4::text[], $5::text[]) WITH ORDINALITY AS g (queue, key, place) ON true
LEFT JOIN {table} AS t ON t.queue = g.queue AND t.key = g.key

-- name: queues
-- Jumps from one queue to the next without reading the rows in between.
WITH RECURSIVE found (queue) AS (
    (SELECT t.queue FROM {table} AS t WHERE t.queue > $1 ORDER BY t.queue LIMIT 1)
    UNION ALL
    SELECT n.queue
    FROM found AS f
    CROSS JOIN LATERAL (SELECT t.queue FROM {table} AS t WHERE t.queue > f.queue ORDER BY t.queue LIMIT 1) AS n
)
SELECT queue FROM found LIMIT $2

-- name: count
SELECT count(*)
FROM (
    SELECT
    FROM {table}
    WHERE queue = $1 AND ready_at >= $2 AND ready_at < $3 AND ready_at < 9223372036854775807
    ORDER BY ready_at
    LIMIT $4
) AS found

-- name: clock
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint

-- name: identity
-- Identifies server, database and table, so that two connections can be compared; and returns settings of the session.
SELECT pg_postmaster_start_time(), (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()),
    to_regclass($1)::oid, current_setting('lock_timeout')

-- name: runs
-- The runs of all tasks. {conditions}: see run_log.py.
SELECT r.id, r.queue, r.key, r.ended_at, r.outcome, r.text
FROM {runs} AS r
WHERE r.ended_at >= $1 AND r.ended_at < $2 AND (r.ended_at, r.id) < ($3, $4) {conditions}
ORDER BY r.ended_at DESC, r.id DESC
LIMIT $5

-- name: runs_of_queues
-- The same for some tasks: the newest runs of each, merged.
SELECT f.id, f.queue, f.key, f.ended_at, f.outcome, f.text
FROM (SELECT DISTINCT q.queue FROM unnest($6::text[]) AS q (queue)) AS w
CROSS JOIN LATERAL (
    SELECT r.id, r.queue, r.key, r.ended_at, r.outcome, r.text
    FROM {runs} AS r
    WHERE r.queue = w.queue AND r.ended_at >= $1 AND r.ended_at < $2 AND (r.ended_at, r.id) < ($3, $4) {conditions}
    ORDER BY r.ended_at DESC, r.id DESC
    LIMIT $5
) AS f
ORDER BY f.ended_at DESC, f.id DESC
LIMIT $5

-- name: prune_runs
WITH old AS MATERIALIZED (
    SELECT r.ctid AS row
    FROM {runs} AS r
    WHERE r.ended_at < $1
    ORDER BY r.ended_at, r.id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
),
deleted AS (
    DELETE FROM {runs} AS r USING old WHERE r.ctid = old.row RETURNING r.id
)
SELECT count(*) FROM deleted
