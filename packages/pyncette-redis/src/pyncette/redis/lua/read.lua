-- KEYS, ARGV and the reply: see `read` in common.lua.

local out = {}
read(out, 1, 1)
return table.concat(out)
