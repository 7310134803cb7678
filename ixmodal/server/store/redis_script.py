"""What `RedisStore` asks of Redis, as one Lua script: Redis runs it as a whole, so that each call is atomic.

Names, all behind one prefix: `document:KIND:ID` is a hash (body, keys, used, owner, held, ending, number), `entries:…`
a hash of bodies by id, `order:…` their order, `key:KEY` the kind and id that a key leads to, `used:KIND` the closed
documents by their last use, `open:KIND` the open ones by when they were held last. Every name has an expiry: nothing
stays for ever, whatever becomes of the servers.
"""

SCRIPT = """
local p, op, now, owner, kind = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local max_count, max_age, lease = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local FIRST = 8 -- of the call's own arguments
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end
local DAY = 86400

local function at(what, id) return p .. what .. ':' .. kind .. ':' .. id end
local function seconds(value) return string.format('%.6f', value) end
local function owner_of(id) return redis.call('HGET', at('document', id), 'owner') end
local function is_open(id) local found = owner_of(id) return found and found ~= '' end
local function keys_of(id) return cjson.decode(redis.call('HGET', at('document', id), 'keys') or '[]') end

local function is_current(id)
  local used = redis.call('HGET', at('document', id), 'used')
  return used and (is_open(id) or tonumber(used) > now - max_age)
end

local function drop_keys(id)
  for _, key in ipairs(keys_of(id)) do
    if redis.call('GET', p .. 'key:' .. key) == kind .. ' ' .. id then redis.call('DEL', p .. 'key:' .. key) end
  end
end

local function drop(id)
  drop_keys(id)
  redis.call('DEL', at('document', id), at('entries', id), at('order', id))
  redis.call('ZREM', p .. 'used:' .. kind, id)
  redis.call('ZREM', p .. 'open:' .. kind, id)
end

local function expire(id)
  local milliseconds = string.format('%.0f', math.ceil((max_age + (is_open(id) and DAY or 0)) * 1000))
  for _, what in ipairs({'document', 'entries', 'order'}) do redis.call('PEXPIRE', at(what, id), milliseconds) end
  for _, key in ipairs(keys_of(id)) do redis.call('PEXPIRE', p .. 'key:' .. key, milliseconds) end
  local longest = string.format('%.0f', math.ceil((max_age + DAY) * 1000))
  redis.call('PEXPIRE', p .. 'used:' .. kind, longest)
  redis.call('PEXPIRE', p .. 'open:' .. kind, longest)
end

local function hold(id)
  redis.call('HSET', at('document', id), 'owner', owner, 'held', seconds(now))
  redis.call('ZADD', p .. 'open:' .. kind, seconds(now), id)
  expire(id)
end

local function use(id)
  redis.call('HSET', at('document', id), 'used', seconds(now))
  if not is_open(id) then redis.call('ZADD', p .. 'used:' .. kind, seconds(now), id) end
  expire(id)
end

local function prune()
  local used = p .. 'used:' .. kind
  local oldest = seconds(now - max_age)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', used, '-inf', oldest, 'LIMIT', 0, 1000)) do drop(id) end
  local over = redis.call('ZCARD', used) - max_count
  if over > 0 then for _, id in ipairs(redis.call('ZRANGE', used, 0, math.min(over, 1000) - 1)) do drop(id) end end
end

local function write(id, body, keys, open)
  drop_keys(id)
  redis.call('HSET', at('document', id), 'body', body, 'keys', keys, 'owner', open and owner or '')
  for _, key in ipairs(cjson.decode(keys)) do redis.call('SET', p .. 'key:' .. key, kind .. ' ' .. id) end
  redis.call('ZREM', p .. (open and 'used:' or 'open:') .. kind, id)
  if open then hold(id) end
  use(id)
  prune()
end

local function read(id)
  if not is_current(id) then return false end
  local found = redis.call('HMGET', at('document', id), 'body', 'keys', 'owner')
  return {kind, id, found[1], found[2], found[3]}
end

local ops = {}

function ops.put(id, body, keys, open)
  redis.call('HDEL', at('document', id), 'ending')
  write(id, body, keys, open == '1')
  return 1
end

function ops.rewrite(id, body, keys, open)
  if owner_of(id) ~= owner then return 0 end
  write(id, body, keys, open == '1')
  return 1
end

function ops.get(id) return read(id) end

function ops.find(key)
  local name = redis.call('GET', p .. 'key:' .. key)
  if not name then return false end
  local space = string.find(name, ' ', 1, true)
  kind = string.sub(name, 1, space - 1)
  return read(string.sub(name, space + 1))
end

function ops.delete(id)
  local found = is_current(id)
  drop(id)
  return found and 1 or 0
end

function ops.touch()
  for n = FIRST, #ARGV do if is_current(ARGV[n]) then use(ARGV[n]) end end
  return 1
end

function ops.append(id)
  if not is_current(id) then return 0 end
  for n = FIRST + 1, #ARGV, 2 do
    if redis.call('HSETNX', at('entries', id), ARGV[n], ARGV[n + 1]) == 1 then
      redis.call('ZADD', at('order', id), redis.call('HINCRBY', at('document', id), 'number', 1), ARGV[n])
    end
  end
  use(id)
  return 1
end

function ops.entries(id)
  local found = {}
  if not is_current(id) then return found end
  for _, entry in ipairs(redis.call('ZRANGE', at('order', id), 0, -1)) do
    found[#found + 1] = entry
    found[#found + 1] = redis.call('HGET', at('entries', id), entry)
  end
  return found
end

function ops.remove(id, entry)
  redis.call('ZREM', at('order', id), entry)
  return redis.call('HDEL', at('entries', id), entry)
end

function ops.hold()
  local fates = {}
  for n = FIRST, #ARGV do
    local id = ARGV[n]
    if owner_of(id) ~= owner then
      fates[#fates + 1] = 'lost'
    else
      hold(id)
      fates[#fates + 1] = redis.call('HEXISTS', at('document', id), 'ending') == 1 and 'ending' or ''
    end
  end
  return fates
end

function ops.finish(id)
  if not is_open(id) then return 0 end
  redis.call('HSET', at('document', id), 'ending', 1)
  return 1
end

function ops.orphans()
  local found, open = {}, p .. 'open:' .. kind
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', open, '-inf', seconds(now - lease), 'LIMIT', 0, 100)) do
    if is_open(id) then
      hold(id)
      found[#found + 1] = read(id)
    else
      redis.call('ZREM', open, id)
    end
  end
  return found
end

return ops[op](ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2], ARGV[FIRST + 3])
"""
