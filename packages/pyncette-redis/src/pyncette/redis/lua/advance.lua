-- Store the progress of an upgrade, and extend the lock.
-- KEYS: the lock, the marker, the progress.
-- ARGV: the owner's token; milliseconds, '0' to release the lock; the progress, '' for none; the current marker; its
--       replacement, '' for none.
-- Reply: '1', or '0' if another process has the lock now: then nothing was changed.

local lock, marker, progress = KEYS[1], KEYS[2], KEYS[3]
local token, lease, place, old, new = unpack(ARGV)

if redis.call('GET', lock) ~= token or redis.call('GET', marker) ~= old then
  return '0'
end
if place ~= '' then
  redis.call('SET', progress, place)
else
  redis.call('DEL', progress)
end
if new ~= '' then
  redis.call('SET', marker, new)
end
if lease == '0' then
  redis.call('DEL', lock)
else
  redis.call('SET', lock, token, 'PX', lease)
end
return '1'
