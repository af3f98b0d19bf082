-- Store names of queues.
-- KEYS: the names of all queues.  ARGV: names.

local named = {}
for _, name in ipairs(ARGV) do
  named[#named + 1], named[#named + 2] = '0', name
end
send('ZADD', KEYS[1], named)
