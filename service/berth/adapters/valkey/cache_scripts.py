"""The scripts of the cache in Valkey. Each is atomic and takes one round trip.

There is one epoch for the whole cache, and a generation for each container. Both are random ids that a
look-up creates where they are missing, and the two together are the version of a container. An entry
begins with the version under which it was read, and is valid only as long as that is the current one.
So whatever the server loses or evicts makes entries invalid, and never valid again.

A write deletes the generation of its container when it begins and when it ends. In between it is a
member of a sorted set, with the time at which it is forgotten, and no generation is created.
All times are those of the server.
"""

_NOW = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
"""

_MARK = """
local function mark(seconds)
  redis.call('ZADD', KEYS[2], now + seconds, ARGV[1])
  redis.call('PEXPIRE', KEYS[2], math.ceil(1000 * math.max(seconds, ARGV[2])))
end
"""

FIND = f"""
-- KEYS: epoch, generation, writes, entry. ARGV: a new id, milliseconds that a new generation is kept
-- Returns nothing while the container may be changing; otherwise its version, and the valid answer if there is one
if redis.call('EXISTS', KEYS[3]) == 1 then
  {_NOW}
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
  if redis.call('ZCARD', KEYS[3]) > 0 then return {{}} end
end
local function current(key, ...)
  local id = redis.call('GET', key)
  if not id then
    id = ARGV[1]
    redis.call('SET', key, id, ...)
  end
  return id
end
local version = current(KEYS[1]) .. current(KEYS[2], 'PX', ARGV[2])
local entry = redis.call('GET', KEYS[4])
if entry and entry:sub(1, #version) == version then return {{version, entry:sub(#version + 1)}} end
return {{version}}
"""

PUT = """
-- KEYS: epoch, generation, entry. ARGV: version, answer, milliseconds, of which there may be none
-- Returns whether the answer is cached
if tonumber(ARGV[3]) <= 0 then
  redis.call('DEL', KEYS[3])
  return 0
end
local epoch, generation = unpack(redis.call('MGET', KEYS[1], KEYS[2]))
if not epoch or not generation or epoch .. generation ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[3], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
return 1
"""

BEGIN = f"""
-- KEYS: generation, writes. ARGV: write, seconds until it is forgotten. Also renews the mark of a write
{_NOW}{_MARK}
redis.call('DEL', KEYS[1])
mark(ARGV[2])
"""

END = f"""
-- KEYS: generation, writes. ARGV: write, seconds that other writes are kept, seconds that it may still take effect
{_NOW}{_MARK}
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if tonumber(ARGV[3]) > 0 then mark(ARGV[3]) end
"""
