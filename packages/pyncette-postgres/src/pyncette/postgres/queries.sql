-- {table} is the quoted name of the table. Every statement here is one implicit transaction.
-- 9223372036854775807 is the moment that never comes. What is ready at some time comes before it: only statements that
-- say so may use the index of ready times, so that the server can't take it for any other.

-- name: read
SELECT g.place, t.queue, t.key, t.due_at, t.ready_at, t.locked_until, t.locked_by, t.revision, t.fence, t.attempt, t.spec
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS g (queue, key, place)
JOIN {table} AS t ON t.queue = g.queue AND t.key = g.key

-- name: swap
-- Locks first, in the order given, so that two batches that share records can't wait for each other; a row that
-- somebody else changed meanwhile is looked at again once its lock is had, and is left alone if its revision is
-- another one by then. `old` is null in an insert, `revision` in a delete, `spec` where it stays as it is.
WITH given AS MATERIALIZED (
    SELECT *
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[],
        $9::bigint[], $10::bigint[], $11::text[]
    ) WITH ORDINALITY AS g (
        queue, key, old, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, place
    )
),
held AS MATERIALIZED (
    SELECT g.*, r.row
    FROM given AS g
    CROSS JOIN LATERAL (
        SELECT t.ctid AS row
        FROM {table} AS t
        WHERE t.queue = g.queue AND t.key = g.key AND t.revision = g.old
        FOR UPDATE
    ) AS r
    WHERE g.old IS NOT NULL
),
updated AS (
    UPDATE {table} AS t
    SET due_at = h.due_at, ready_at = h.ready_at, locked_until = h.locked_until, locked_by = h.locked_by,
        revision = h.revision, fence = h.fence, attempt = h.attempt, spec = coalesce(h.spec, t.spec)
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
    INSERT INTO {table} (queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec)
    SELECT queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec
    FROM given
    WHERE old IS NULL
    ORDER BY place
    ON CONFLICT DO NOTHING
    RETURNING key
)
SELECT key FROM updated
UNION ALL
SELECT key FROM deleted
UNION ALL
SELECT key FROM inserted

-- name: due
WITH wanted AS (
    SELECT w.place, w.queue, w.most
    FROM unnest($1::text[], $2::bool[], $3::bigint[]) WITH ORDINALITY AS w (queue, static, most, place)
    WHERE NOT w.static OR w.queue IN (SELECT s.queue FROM {table} AS s WHERE s.queue = s.key AND s.ready_at <= $4)
    ORDER BY w.place
)
SELECT r.*
FROM wanted AS w
CROSS JOIN LATERAL (
    SELECT t.queue, t.key, t.due_at, t.ready_at, t.locked_until, t.locked_by, t.revision, t.fence, t.attempt, t.spec
    FROM {table} AS t
    WHERE t.queue = w.queue AND t.ready_at <= $4 AND t.ready_at < 9223372036854775807
    ORDER BY t.ready_at
    LIMIT w.most
) AS r
LIMIT $5

-- name: claim
-- Static queues that have nothing ready are sorted out at once by the small index of static tasks. The others are
-- looked into one after another, row by row, until enough are found: no row is locked that isn't taken.
WITH wanted AS (
    SELECT w.place, w.queue, w.most, w.until
    FROM unnest($1::text[], $2::bool[], $3::bigint[], $6::bigint[])
        WITH ORDINALITY AS w (queue, static, most, until, place)
    WHERE NOT w.static OR w.queue IN (SELECT s.queue FROM {table} AS s WHERE s.queue = s.key AND s.ready_at <= $4)
    ORDER BY w.place
),
held AS MATERIALIZED (
    SELECT w.place, w.until, r.row, r.ready_at
    FROM wanted AS w
    CROSS JOIN LATERAL (
        SELECT t.ctid AS row, t.ready_at
        FROM {table} AS t
        WHERE t.queue = w.queue AND t.ready_at <= $4 AND t.ready_at < 9223372036854775807
        ORDER BY t.ready_at
        LIMIT w.most
        FOR UPDATE SKIP LOCKED
    ) AS r
    LIMIT $5
),
claimed AS (
    UPDATE {table} AS t
    SET ready_at = h.until, locked_until = h.until, locked_by = $8, revision = $7,
        fence = greatest(t.fence + 1, $4), attempt = t.attempt + 1
    FROM held AS h
    WHERE t.ctid = h.row
    RETURNING h.place, h.ready_at AS was_ready_at, t.queue, t.key, t.due_at, t.ready_at, t.locked_until, t.locked_by,
        t.revision, t.fence, t.attempt, t.spec
)
SELECT queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec
FROM claimed
ORDER BY place, was_ready_at

-- name: scan
SELECT queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec
FROM {table}
WHERE queue = $1 AND key > $2
ORDER BY key
LIMIT $3

-- name: next_ready
SELECT min(first.ready_at)
FROM (
    SELECT r.ready_at
    FROM unnest($1::text[]) AS w (queue)
    CROSS JOIN LATERAL (
        SELECT t.ready_at
        FROM {table} AS t
        WHERE t.queue = w.queue AND t.ready_at >= $3 AND t.ready_at < 9223372036854775807
        ORDER BY t.ready_at
        LIMIT 1
    ) AS r
    UNION ALL
    (
        SELECT s.ready_at
        FROM {table} AS s
        WHERE s.queue = s.key AND s.ready_at >= $3 AND s.queue = ANY ($2::text[]) AND cardinality($2) > 0
        ORDER BY s.ready_at
        LIMIT 1
    )
) AS first

-- name: clock
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
