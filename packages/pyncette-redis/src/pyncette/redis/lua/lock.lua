-- One process at a time changes the format. The lock ends by itself when its owner was killed.
-- KEYS: the lock, the marker, the progress.  ARGV: the owner's token, milliseconds.
-- Reply: '1' if the owner has the lock now or '0'; the marker; how far the step under way had come, or ''.

local taken = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
return { taken and '1' or '0', redis.call('GET', KEYS[2]) or '', redis.call('GET', KEYS[3]) or '' }
