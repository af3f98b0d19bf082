-- The statements, by name. What stands in braces is filled in by the code: identifiers that were checked, whole numbers,
-- and texts as hexadecimal literals, so that nothing depends on quoting, the SQL mode or a character set. A derived
-- table called `asked` or `changes` holds the values of many records at once.

-- name: read
SELECT {columns} FROM {asked}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.queue = asked.queue AND t.`key` = asked.`key`

-- In a transaction of the caller, whose snapshot may be old: what is there now, and locked from here on.
-- name: lock
SELECT {columns} FROM {asked}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.queue = asked.queue AND t.`key` = asked.`key`
FOR UPDATE NOWAIT

-- Of server, database and table, so that two connections can be compared, whatever their time zones; and what a borrowed
-- session is given back with.
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

-- From one queue to the next: the server skips the rows between.
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

-- MySQL: picks in the order of the index, and stops at the limits, so that nothing is locked but what is taken.
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

-- What the record was is left in a column of its own, for the answer.
-- name: lease_picked
UPDATE ({picks} LIMIT {limit}) AS picked
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.queue = picked.queue AND t.`key` = picked.`key`
SET t.was = CONCAT(picked.ready_at, ',', IFNULL(picked.locked_until, ''), ',', picked.fence, ',', picked.attempt, ',',
HEX(picked.revision), ',', IFNULL(CONCAT('x', HEX(picked.locked_by)), '')),
t.ready_at = picked.lease_end, t.locked_until = picked.lease_end, t.locked_by = {holder}, t.revision = {token},
t.fence = GREATEST(LEAST(picked.fence, 9223372036854775806) + 1, {now}), t.attempt = LEAST(picked.attempt, 2147483646) + 1;
SET @pyncette_claimed = ROW_COUNT()

-- Which of the claims would get something: reads one entry of the index for each. (MySQL sorts the whole queue when it is
-- asked for the order of ready_at alone.)
-- name: ready_claims
SELECT asked.n FROM {asked} WHERE asked.past > (
SELECT t.ready_at FROM {table} AS t FORCE INDEX (due) WHERE t.queue = asked.queue AND t.ready_at >= asked.since
ORDER BY t.queue, t.ready_at LIMIT 1)

-- MariaDB reads every part of a UNION to its own limit, and keeps the lock on the entry at which a range ends. So the
-- queues are taken one by one, those with nothing due are left alone, and no more is asked for than is there. The
-- index begins with entries that were claimed a moment ago and are not purged yet: they are walked over once.
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

-- Waits for nobody: what another transaction has locked is left out, and found to be busy at the end. (MySQL merges a
-- derived table without a limit into the statement, and forgets SKIP LOCKED.)
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

-- Results of a swap are pairs: the position of a change, and 1 if it is applied, 0 if not, 2 if another transaction has
-- locked the record. Deletions count as not applied, all other changes as applied, unless a result says something else.

-- Holds the rows until they are deleted.
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

-- What is still there as it was, to be seen without a lock.
-- name: find_undeleted
SELECT changes.n, 2 FROM {changes}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY)
ON t.queue = changes.queue AND t.`key` = changes.`key` AND t.revision = changes.old

-- Looks only when the counts say that something was not applied, or nothing was counted; within the transaction, before anybody else can
-- write over what was. A change that is sent again because its answer was lost, and is in the table, counts as applied.
-- name: find_refused
SELECT changes.n, IF(o.queue IS NULL, 0, 2) FROM {changes}
LEFT JOIN {table} AS t FORCE INDEX (PRIMARY)
ON t.queue = changes.queue AND t.`key` = changes.`key` AND t.revision = changes.revision
LEFT JOIN {table} AS o FORCE INDEX (PRIMARY)
ON o.queue = changes.queue AND o.`key` = changes.`key` AND o.revision = changes.old
WHERE COALESCE(@pyncette_applied, -1) < {expected} AND t.queue IS NULL

-- After an insert has waited for others without success. A script of two statements without a transaction around them, so that
-- the first one alone sees what is not committed.
-- name: find_inserted
SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;
SELECT changes.n FROM {changes}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.queue = changes.queue AND t.`key` = changes.`key`;
SELECT changes.n FROM {changes}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.queue = changes.queue AND t.`key` = changes.`key`

-- Lines of the log of runs, within the transaction of a swap. A line that is there already, because its change was sent
-- again, stays as it is. After the writes: those whose record is as written.
-- name: log_written
INSERT INTO {runs} (ended_at, id, queue, `key`, outcome, text)
SELECT changes.ended_at, changes.id, changes.run_queue, changes.run_key, changes.outcome, changes.text FROM {changes}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY)
ON t.queue = changes.queue AND t.`key` = changes.`key` AND t.revision = changes.revision
ON DUPLICATE KEY UPDATE ended_at = {runs}.ended_at

-- Before the deletions, and after their rows were locked: those whose record is there.
-- name: log_deleted
INSERT INTO {runs} (ended_at, id, queue, `key`, outcome, text)
SELECT held.ended_at, held.id, held.run_queue, held.run_key, held.outcome, held.text FROM (SELECT changes.* FROM {changes}
STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY)
ON t.queue = changes.queue AND t.`key` = changes.`key` AND t.revision = changes.revision
LIMIT 18446744073709551615 FOR UPDATE SKIP LOCKED) AS held
ON DUPLICATE KEY UPDATE ended_at = {runs}.ended_at

-- An index holds what the conditions leave over in the order asked for.
-- name: runs
(SELECT r.id, r.queue, r.`key`, r.ended_at, r.outcome, r.text FROM {runs} AS r FORCE INDEX ({index})
WHERE {conditions} ORDER BY r.ended_at DESC, r.id DESC LIMIT {limit})

-- Leaves lines that another process is pruning to it.
-- name: prune_runs
DELETE r FROM (SELECT ended_at, id FROM {runs} FORCE INDEX (PRIMARY)
WHERE ended_at < {before} ORDER BY ended_at, id LIMIT {limit} FOR UPDATE SKIP LOCKED) AS old
STRAIGHT_JOIN {runs} AS r FORCE INDEX (PRIMARY) ON r.ended_at = old.ended_at AND r.id = old.id;
SELECT ROW_COUNT()
