-- The statements, by name. What stands in braces is filled in by the code: identifiers that were checked, whole numbers,
-- and texts as hexadecimal literals, so that nothing depends on quoting, the SQL mode or a character set. A derived
-- table called `asked` or `changes` holds the values of many records at once.

-- name: read
SELECT {columns} FROM {asked}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.queue = asked.queue AND t.`key` = asked.`key`

-- name: scan
SELECT {columns} FROM {table} AS t FORCE INDEX (PRIMARY)
WHERE t.queue = {queue}{after} ORDER BY t.`key` LIMIT {limit}

-- name: clock
SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))

-- name: due_instances
(SELECT {columns} FROM {table} AS t FORCE INDEX (due)
WHERE t.queue = {queue} AND t.ready_at <= {now} ORDER BY t.ready_at, t.`key` LIMIT {limit})

-- name: due_statics
(SELECT {columns} FROM {asked}
STRAIGHT_JOIN {table} AS t FORCE INDEX (due) ON t.queue = asked.queue AND t.ready_at <= {now} LIMIT {limit})

-- name: next_of_instances
(SELECT t.ready_at FROM {table} AS t FORCE INDEX (due) WHERE t.queue = {queue}{after} ORDER BY t.ready_at LIMIT 1)

-- name: next_of_statics
(SELECT MIN(t.ready_at) AS ready_at FROM {asked}
STRAIGHT_JOIN {table} AS t FORCE INDEX (due) ON t.queue = asked.queue{after})

-- name: next_ready
SELECT MIN(ready_at) FROM ({parts}) AS parts

-- MySQL: picks in the order of the index, and stops at the limits, so that nothing is locked but what is taken.
-- name: pick_instances
(SELECT queue, `key`, {lease_end} AS lease_end FROM {table} FORCE INDEX (due)
WHERE queue = {queue} AND ready_at <= {now} ORDER BY ready_at, `key` LIMIT {limit} FOR UPDATE SKIP LOCKED)

-- name: pick_statics
(SELECT t.queue, t.`key`, asked.lease_end FROM {asked}
STRAIGHT_JOIN {table} AS t FORCE INDEX (due) ON t.queue = asked.queue AND t.ready_at <= {now}
LIMIT {limit} FOR UPDATE SKIP LOCKED)

-- name: lease_picked
UPDATE ({picks} LIMIT {limit}) AS picked
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.queue = picked.queue AND t.`key` = picked.`key`
SET t.ready_at = picked.lease_end, t.locked_until = picked.lease_end, t.locked_by = {holder}, t.revision = {token},
t.fence = GREATEST(t.fence + 1, {now}), t.attempt = t.attempt + 1;
SET @pyncette_claimed = ROW_COUNT()

-- Which of the queues have something due: reads one entry of the index for each. (MySQL sorts the whole queue when it is
-- asked for the order of ready_at alone.)
-- name: due_queues
SELECT asked.n FROM {asked} WHERE {now} >= (
SELECT t.ready_at FROM {table} AS t FORCE INDEX (due) WHERE t.queue = asked.queue ORDER BY t.queue, t.ready_at LIMIT 1)

-- MariaDB reads every part of a UNION to its own limit, and keeps the lock on the entry at which a range ends. So the
-- queues are taken one by one, those with nothing due are left alone, and no more is asked for than is there. The
-- index begins with entries that were claimed a moment ago and are not purged yet: they are walked over once.
-- name: lease_in_turn
BEGIN NOT ATOMIC
DECLARE room INT DEFAULT {limit};
DECLARE n INT;
FOR q IN (
SELECT asked.queue, asked.lease_end, asked.most, (
SELECT t.ready_at FROM {table} AS t FORCE INDEX (due) WHERE t.queue = asked.queue ORDER BY t.queue, t.ready_at LIMIT 1) AS first
FROM {asked} HAVING first <= {now} ORDER BY asked.n
) DO
IF room > 0 THEN
SET n = LEAST(room, q.most);
SELECT COUNT(*) INTO n FROM (
SELECT 1 FROM {table} FORCE INDEX (due)
WHERE queue = q.queue AND ready_at BETWEEN q.first AND {now} LIMIT n) AS ready;
FOR picked IN (
SELECT `key` FROM {table} FORCE INDEX (due)
WHERE queue = q.queue AND ready_at BETWEEN q.first AND {now} ORDER BY ready_at, `key` LIMIT n
FOR UPDATE SKIP LOCKED
) DO
UPDATE {table} SET ready_at = q.lease_end, locked_until = q.lease_end, locked_by = {holder}, revision = {token},
fence = GREATEST(fence + 1, {now}), attempt = attempt + 1 WHERE queue = q.queue AND `key` = picked.`key`;
SET room = room - 1;
END FOR;
END IF;
END FOR;
SET @pyncette_claimed = {limit} - room;
END

-- What was leased is found by the index again, as it is ready at the end of its lease now.
-- name: claimed
SELECT {columns} FROM {asked}
STRAIGHT_JOIN {table} AS t FORCE INDEX (due) ON t.queue = asked.queue AND t.ready_at = asked.lease_end
WHERE @pyncette_claimed > 0 AND t.revision = {token}

-- name: insert
INSERT INTO {table} (queue, `key`, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec)
VALUES {rows} ON DUPLICATE KEY UPDATE attempt = {table}.attempt;
SET @pyncette_applied = @pyncette_applied + ROW_COUNT()

-- name: update
UPDATE {changes}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY)
ON t.queue = changes.queue AND t.`key` = changes.`key` AND t.revision = changes.old
SET t.due_at = changes.due_at, t.ready_at = changes.ready_at, t.locked_until = changes.locked_until,
t.locked_by = changes.locked_by, t.revision = changes.revision, t.fence = changes.fence,
t.attempt = changes.attempt{spec};
SET @pyncette_applied = @pyncette_applied + ROW_COUNT()

-- Results of a swap are pairs: the position of a change, and whether it is applied. Deletions count as not applied, all
-- other changes as applied, unless a result says something else.

-- Holds the rows until they are deleted.
-- name: find_deleted
SELECT changes.n, 1 FROM {changes}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY)
ON t.queue = changes.queue AND t.`key` = changes.`key` AND t.revision = changes.old FOR UPDATE

-- name: delete
DELETE t FROM {changes}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY)
ON t.queue = changes.queue AND t.`key` = changes.`key` AND t.revision = changes.old

-- Looks only when the counts say that something was not applied; within the transaction, before anybody else can
-- write over what was. A change that is sent again because its answer was lost, and is in the table, counts as applied.
-- name: find_refused
SELECT changes.n, 0 FROM {changes}
LEFT JOIN {table} AS t FORCE INDEX (PRIMARY)
ON t.queue = changes.queue AND t.`key` = changes.`key` AND t.revision = changes.revision
WHERE @pyncette_applied < {expected} AND t.queue IS NULL
