-- The statements, by name. The code fills in the parts in braces: validated identifiers, integers, and texts as hexadecimal
-- literals, so that nothing depends on quoting, the SQL mode or a character set. A derived table called `asked` or `changes`
-- holds the values of many records at once.

-- name: read
SELECT {columns} FROM {asked}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.queue = asked.queue AND t.`key` = asked.`key`

-- In a caller's transaction, whose snapshot may be old: reads the current rows, and locks them.
-- name: lock
SELECT {columns} FROM {asked}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.queue = asked.queue AND t.`key` = asked.`key`
FOR UPDATE NOWAIT

-- Identifies server, database and table, so that two connections can be compared, whatever their time zones; and returns the
-- settings that a caller's session must get back.
-- name: identity
SELECT @@hostname, @@port, @@datadir, DATABASE(), (
SELECT UNIX_TIMESTAMP(CREATE_TIME) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = {table_name}),
@@character_set_results, @@innodb_lock_wait_timeout, @@sql_mode, @@sql_safe_updates, @@sql_select_limit

-- name: scan
SELECT {columns} FROM {table} AS t FORCE INDEX (PRIMARY)
WHERE t.queue = {queue}{within} ORDER BY t.`key` LIMIT {limit}

-- name: clock
SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))

-- name: scan_ready
SELECT {columns} FROM {table} AS t FORCE INDEX (due)
WHERE t.queue = {queue} AND t.ready_at >= {since} AND t.ready_at < {before}{after}
ORDER BY t.ready_at, t.`key` LIMIT {limit}

-- name: count
SELECT COUNT(*) FROM (
SELECT 1 FROM {table} AS t FORCE INDEX (due)
WHERE t.queue = {queue} AND t.ready_at >= {since} AND t.ready_at < {before} LIMIT {limit}) AS found

-- Jumps from one queue to the next: the server skips the rows in between.
-- name: queues
SELECT DISTINCT queue FROM {table} FORCE INDEX (PRIMARY) WHERE queue > {after} ORDER BY queue LIMIT {limit}

-- name: next_of_instances
(SELECT {n} AS n, t.ready_at FROM {table} AS t FORCE INDEX (due)
WHERE t.queue = {queue}{after} ORDER BY t.ready_at LIMIT 1)

-- name: next_of_statics
(SELECT asked.n, t.ready_at FROM {asked}
STRAIGHT_JOIN {table} AS t FORCE INDEX (due) ON t.queue = asked.queue{after})

-- name: next_ready
SELECT n, ready_at
FROM (SELECT parts.n, parts.ready_at, MIN(parts.ready_at) OVER () AS first FROM ({parts}) AS parts) AS firsts
WHERE ready_at <= {until} OR ready_at = first

-- name: soon
(SELECT {n} AS n, t.ready_at FROM {table} AS t FORCE INDEX (due)
WHERE t.queue = {queue}{condition} ORDER BY t.ready_at LIMIT 1, {rest})

-- MySQL: reads in the order of the index and stops at the limits, so that only claimed rows are locked.
-- name: pick_instances
(SELECT queue, `key`, {lease_end} AS lease_end, ready_at, locked_until, locked_by, revision, fence, attempt
FROM {table} FORCE INDEX (due)
WHERE queue = {queue} AND ready_at >= {since} AND ready_at < {before}
ORDER BY ready_at, `key` LIMIT {limit} FOR UPDATE SKIP LOCKED)

-- name: pick_statics
(SELECT t.queue, t.`key`, asked.lease_end, t.ready_at, t.locked_until, t.locked_by, t.revision, t.fence, t.attempt
FROM {asked}
STRAIGHT_JOIN {table} AS t FORCE INDEX (due)
ON t.queue = asked.queue AND t.ready_at >= {since} AND t.ready_at < {before}
LIMIT {limit} FOR UPDATE SKIP LOCKED)

-- A separate column keeps the previous values of the record, for the answer.
-- name: lease_picked
UPDATE ({picks} LIMIT {limit}) AS picked
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.queue = picked.queue AND t.`key` = picked.`key`
SET t.was = CONCAT(picked.ready_at, ',', IFNULL(picked.locked_until, ''), ',', picked.fence, ',', picked.attempt, ',',
HEX(picked.revision), ',', IFNULL(CONCAT('x', HEX(picked.locked_by)), '')),
t.ready_at = picked.lease_end, t.locked_until = picked.lease_end, t.locked_by = {holder}, t.revision = {token},
t.fence = GREATEST(LEAST(picked.fence, 9223372036854775806) + 1, {now}), t.attempt = LEAST(picked.attempt, 2147483646) + 1;
SET @pyncette_claimed = ROW_COUNT()

-- The claims that would get something: reads one entry of the index for each. (MySQL would sort the whole queue if ordered
-- by ready_at alone.)
-- name: ready_claims
SELECT asked.n FROM {asked} WHERE asked.past > (
SELECT t.ready_at FROM {table} AS t FORCE INDEX (due) WHERE t.queue = asked.queue AND t.ready_at >= asked.since
ORDER BY t.queue, t.ready_at LIMIT 1)

-- MariaDB reads every part of a UNION up to its own limit, and keeps a lock on the entry at which a range ends. So queues are
-- read one by one, those with nothing due are skipped, and no more rows are requested than exist. The index begins with
-- entries that were claimed a moment ago and are not purged yet: these are scanned only once.
-- name: lease_in_turn
BEGIN NOT ATOMIC
DECLARE room INT DEFAULT {limit};
DECLARE n INT;
FOR q IN (
SELECT asked.queue, asked.lease_end, asked.most, asked.past, (
SELECT t.ready_at FROM {table} AS t FORCE INDEX (due) WHERE t.queue = asked.queue AND t.ready_at >= asked.since
ORDER BY t.queue, t.ready_at LIMIT 1) AS first
FROM {asked} HAVING first < asked.past ORDER BY asked.n
) DO
IF room > 0 THEN
SET n = LEAST(room, q.most);
SELECT COUNT(*) INTO n FROM (
SELECT 1 FROM {table} FORCE INDEX (due)
WHERE queue = q.queue AND ready_at >= q.first AND ready_at < q.past LIMIT n) AS ready;
FOR picked IN (
SELECT `key`, ready_at, locked_until, locked_by, revision, fence, attempt FROM {table} FORCE INDEX (due)
WHERE queue = q.queue AND ready_at >= q.first AND ready_at < q.past ORDER BY ready_at, `key` LIMIT n
FOR UPDATE SKIP LOCKED
) DO
UPDATE {table} SET was = CONCAT(picked.ready_at, ',', IFNULL(picked.locked_until, ''), ',', picked.fence, ',',
picked.attempt, ',', HEX(picked.revision), ',', IFNULL(CONCAT('x', HEX(picked.locked_by)), '')),
ready_at = q.lease_end, locked_until = q.lease_end, locked_by = {holder}, revision = {token},
fence = GREATEST(LEAST(picked.fence, 9223372036854775806) + 1, {now}), attempt = LEAST(picked.attempt, 2147483646) + 1
WHERE queue = q.queue AND `key` = picked.`key`;
SET room = room - 1;
END FOR;
END IF;
END FOR;
SET @pyncette_claimed = {limit} - room;
END

-- name: claimed
SELECT t.queue, t.`key`, t.due_at, t.was, t.spec, t.state FROM {asked}
STRAIGHT_JOIN {table} AS t FORCE INDEX (due) ON t.queue = asked.queue AND t.ready_at = asked.lease_end
WHERE @pyncette_claimed > 0 AND t.revision = {token}

-- name: insert
INSERT INTO {table} (queue, `key`, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state)
VALUES {rows} ON DUPLICATE KEY UPDATE attempt = {table}.attempt;
SET @pyncette_applied = @pyncette_applied + ROW_COUNT()

-- Never waits: rows that another transaction has locked are skipped, and found to be busy at the end. (MySQL merges a derived
-- table without a limit into the statement, and then ignores SKIP LOCKED.)
-- name: update
UPDATE (SELECT changes.* FROM {changes}
STRAIGHT_JOIN {table} AS h FORCE INDEX (PRIMARY)
ON h.queue = changes.queue AND h.`key` = changes.`key` AND h.revision = changes.old
LIMIT 18446744073709551615 FOR UPDATE SKIP LOCKED) AS held
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.queue = held.queue AND t.`key` = held.`key`
SET t.due_at = held.due_at, t.ready_at = held.ready_at, t.locked_until = held.locked_until,
t.locked_by = held.locked_by, t.revision = held.revision, t.fence = held.fence,
t.attempt = held.attempt, t.state = held.state, t.was = NULL{spec};
SET @pyncette_applied = @pyncette_applied + ROW_COUNT()

-- Results of a swap are pairs: the position of a change, and 1 if it was applied, 0 if not, 2 if another transaction has
-- locked the record. Without a result, a deletion counts as not applied, and any other change as applied.

-- Locks the rows until they are deleted.
-- name: find_deleted
SELECT changes.n, 1 FROM {changes}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY)
ON t.queue = changes.queue AND t.`key` = changes.`key` AND t.revision = changes.old FOR UPDATE SKIP LOCKED

-- name: delete
DELETE t FROM (SELECT changes.* FROM {changes}
STRAIGHT_JOIN {table} AS h FORCE INDEX (PRIMARY)
ON h.queue = changes.queue AND h.`key` = changes.`key` AND h.revision = changes.old
LIMIT 18446744073709551615 FOR UPDATE SKIP LOCKED) AS held
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.queue = held.queue AND t.`key` = held.`key`

-- The rows that are still there unchanged, read without a lock.
-- name: find_undeleted
SELECT changes.n, 2 FROM {changes}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY)
ON t.queue = changes.queue AND t.`key` = changes.`key` AND t.revision = changes.old

-- Reads rows only if the counts say that something was not applied, or are missing; within the transaction, before anyone else
-- can overwrite them. A change that is sent again because its answer was lost, and is in the table, counts as applied.
-- name: find_refused
SELECT changes.n, IF(o.queue IS NULL, 0, 2) FROM {changes}
LEFT JOIN {table} AS t FORCE INDEX (PRIMARY)
ON t.queue = changes.queue AND t.`key` = changes.`key` AND t.revision = changes.revision
LEFT JOIN {table} AS o FORCE INDEX (PRIMARY)
ON o.queue = changes.queue AND o.`key` = changes.`key` AND o.revision = changes.old
WHERE COALESCE(@pyncette_applied, -1) < {expected} AND t.queue IS NULL

-- For use after an insert has waited for others without success. Two statements without a common transaction, so that only
-- the first one sees uncommitted rows.
-- name: find_inserted
SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;
SELECT changes.n FROM {changes}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.queue = changes.queue AND t.`key` = changes.`key`;
SELECT changes.n FROM {changes}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.queue = changes.queue AND t.`key` = changes.`key`

-- Lines of the log of runs, within the transaction of a swap. An existing line stays unchanged: its change was sent again.
-- Runs after the writes, for lines whose record is as written.
-- name: log_written
INSERT INTO {runs} (ended_at, id, queue, `key`, outcome, text)
SELECT changes.ended_at, changes.id, changes.run_queue, changes.run_key, changes.outcome, changes.text FROM {changes}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY)
ON t.queue = changes.queue AND t.`key` = changes.`key` AND t.revision = changes.revision
ON DUPLICATE KEY UPDATE ended_at = {runs}.ended_at

-- Runs before the deletions, after their rows were locked, for lines whose record exists.
-- name: log_deleted
INSERT INTO {runs} (ended_at, id, queue, `key`, outcome, text)
SELECT held.ended_at, held.id, held.run_queue, held.run_key, held.outcome, held.text FROM (SELECT changes.* FROM {changes}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY)
ON t.queue = changes.queue AND t.`key` = changes.`key` AND t.revision = changes.revision
LIMIT 18446744073709551615 FOR UPDATE SKIP LOCKED) AS held
ON DUPLICATE KEY UPDATE ended_at = {runs}.ended_at

-- An index has the remaining rows in the requested order.
-- name: runs
(SELECT r.id, r.queue, r.`key`, r.ended_at, r.outcome, r.text FROM {runs} AS r FORCE INDEX ({index})
WHERE {conditions} ORDER BY r.ended_at DESC, r.id DESC LIMIT {limit})

-- Skips lines that another process is pruning.
-- name: prune_runs
DELETE r FROM (SELECT ended_at, id FROM {runs} FORCE INDEX (PRIMARY)
WHERE ended_at < {before} ORDER BY ended_at, id LIMIT {limit} FOR UPDATE SKIP LOCKED) AS old
STRAIGHT_JOIN {runs} AS r FORCE INDEX (PRIMARY) ON r.ended_at = old.ended_at AND r.id = old.id;
SELECT ROW_COUNT()
