-- Answers a query on one partition at one instant.
-- KEYS: metas, rows, sets of members, lists; all in one slot.
-- ARGV: how many of each of the four, then the members, then how many values of each list.
-- Returns {metas, rows, members, lists}.
local metas, rows, members, lists = {}, {}, {}, {}
local key, arg = 0, 4
for i = 1, tonumber(ARGV[1]) do
  key = key + 1
  metas[i] = redis.call('HGETALL', KEYS[key])
end
for i = 1, tonumber(ARGV[2]) do
  key = key + 1
  rows[i] = redis.call('GET', KEYS[key])
end
for i = 1, tonumber(ARGV[3]) do
  key, arg = key + 1, arg + 1
  members[i] = redis.call('SISMEMBER', KEYS[key], ARGV[arg])
end
for i = 1, tonumber(ARGV[4]) do
  key, arg = key + 1, arg + 1
  if ARGV[arg] == '0' then
    lists[i] = {}
  else
    lists[i] = redis.call('LRANGE', KEYS[key], '-' .. ARGV[arg], -1)
  end
end
return {metas, rows, members, lists}
