-- Only one process at a time changes the format. The lock expires if its owner is killed.
-- KEYS: the lock, the marker, the progress.  ARGV: the owner's token, milliseconds.
-- Reply: '1' if this process has the lock now, otherwise '0'; the marker; the progress of the migration under way, or ''.

local taken = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
return { taken and '1' or '0', redis.call('GET', KEYS[2]) or '', redis.call('GET', KEYS[3]) or '' }
