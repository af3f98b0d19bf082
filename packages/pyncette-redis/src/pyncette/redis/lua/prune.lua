-- Delete the oldest lines of a log of runs.
-- KEYS: the log.  ARGV: the upper bound of what to delete, as for ZRANGEBYSCORE; the maximum number of lines.
-- Reply: the number of lines deleted.

local lines = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
send('ZREM', KEYS[1], lines)
return #lines
