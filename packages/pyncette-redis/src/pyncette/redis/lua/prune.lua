-- Delete the oldest lines of a log of runs.
-- KEYS: the log.  ARGV: where what stays begins, as for ZRANGEBYSCORE; how many at most.
-- Reply: how many.

local lines = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
send('ZREM', KEYS[1], lines)
return #lines
