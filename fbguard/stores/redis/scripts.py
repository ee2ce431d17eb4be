"""What a space does in Redis, as scripts in Lua: each runs as a whole or not at all. Pure text.

All keys of a space stand in one slot of a cluster, by their tag: what must change together is together. They
are, behind the space's name, with values in ``{}``:

=============== ====== ==========================================================================
``fact:NAME``   hash   ``fact``: the sealed fact, ``user``: the name of its user, if it has one
``stone:NAME``  string a token's tombstone
``claim:NAME``  string who looks the token up
``user:NAME``   hash   ``stone``: a user's tombstone, ``at``: the time of its event
``index:NAME``  zset   names of a user's tokens, by the time at which their facts end
``token!:NAME`` string when the token was last touched, as a mark
``user!:NAME``  string the same of a user
``count``       hash   ``now``: the mark of today, ``start``: the one with which this count began
=============== ====== ==========================================================================

Every key ends by itself. A mark is at least the server's clock in microseconds: so marks grow even over a
server that lost what it had, and an answer whose mark is from before ``start`` is late. What stands under a
key and is of a wrong type, or too long, was not written here: it is not there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

COUNT_TTL: Final = 86_400_000  # ms; renewed while anybody listens. Longer than any look-up, by far
TOUCH_TTL: Final = 600_000  # ms; of a token or user: as long as the longest look-up
MAX_FACT: Final = 262_144  # bytes; a reply of Graph's is 64 KiB at most
MAX_STONE: Final = 65_536  # bytes
MAX_NAME: Final = 1_024  # bytes; a name of ours is much shorter, and a number
MAX_NUMBER: Final = 2**53 - 1  # what Lua counts to one by one; a mark is a tenth of that, for a century


@dataclass(frozen=True, slots=True)
class Script:
    """A script; KEYS[1] is the space's count, ARGV[1] what the names of its keys begin with."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


_PRELUDE: Final = f"""
local function key(kind, name) return ARGV[1] .. kind .. ':' .. name end
local function short(at, field, most)
  local length
  if field then length = redis.pcall('HSTRLEN', at, field) else length = redis.pcall('STRLEN', at) end
  return type(length) == 'number' and length <= most
end
local function fields(at, most, ...)
  for _, field in ipairs({{...}}) do
    if not short(at, field, most) then return {{}} end
  end
  return redis.call('HMGET', at, ...)
end
local function value(at, most) return short(at, nil, most) and redis.call('GET', at) end
local function number(value)
  local found = tonumber(value or nil)
  if found and found >= 0 and found <= {MAX_NUMBER} then return found end
end
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
local function text(number) return string.format('%.0f', number) end
local function count()
  local found = fields(KEYS[1], {MAX_NAME}, 'start', 'now')
  local start, now = number(found[1]), number(found[2])
  if start and now and start <= now then return start, now end
  now = clock()
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'start', text(now), 'now', text(now))
  redis.call('PEXPIRE', KEYS[1], {COUNT_TTL})
  return now, now
end
local function touch(kind, name)
  local _, now = count()
  now = math.max(now + 1, clock())
  redis.call('HSET', KEYS[1], 'now', text(now))
  redis.call('PEXPIRE', KEYS[1], {COUNT_TTL})
  redis.call('SET', key(kind, name), text(now), 'PX', {TOUCH_TTL})
end
local function is_touched(kind, name, mark, now)
  local last = number(value(key(kind, name), {MAX_NAME})) or 0
  return last > mark and last <= now
end
local function stone_of(name) return value(key('stone', name), {MAX_STONE}) or false end
local function drop(name)
  local user = fields(key('fact', name), {MAX_NAME}, 'user')[1]
  if user then redis.pcall('ZREM', key('index', user), name) end
  redis.call('UNLINK', key('fact', name))
end
local function bury(name, stone, ttl)
  local at = key('stone', name)
  redis.call('SET', at, stone, 'PX', math.max(tonumber(ttl), redis.call('PTTL', at)))
  touch('token!', name)
  drop(name)
end
local function user_stone(user)
  return fields(key('user', user), {MAX_STONE}, 'stone')[1] or false
end
local function drop_user(user)
  touch('user!', user)
  local names = redis.pcall('ZRANGE', key('index', user), 0, -1)
  local dropped = {{}}
  if names['err'] then names = {{}} end
  for _, name in ipairs(names) do
    local at = key('fact', name)
    local found = fields(at, {MAX_FACT}, 'fact', 'user')
    if found[1] and found[2] == user then
      table.insert(dropped, name)
      table.insert(dropped, found[1])
    end
    redis.call('UNLINK', at)
  end
  redis.call('UNLINK', key('index', user))
  return dropped
end
"""


def _script(body: str) -> Script:
    return Script(_PRELUDE + body)


# name, holder or '', ms, other name ... -> fact, stone, user stone, mark, 1 or 0 (claimed) or -1 (nothing to
# claim), other stone ...
FIND: Final = _script(f"""
local _, mark = count()
local name, fact, user = ARGV[2], false, false
local stone, is_ended = stone_of(name), false
local at = key('fact', name)
if short(at, 'user', {MAX_NAME}) then
  local found = fields(at, {MAX_FACT}, 'fact', 'user')
  fact, user = found[1] or false, found[2] or false
end
local found = {{fact, stone, fact and user and user_stone(user) or false, text(mark), -1}}
for i = 5, #ARGV do
  local other = stone_of(ARGV[i])
  is_ended = is_ended or other
  table.insert(found, other)
end
if fact or stone or is_ended or ARGV[3] == '' then return found end
at = key('claim', name)
local set = redis.call('SET', at, ARGV[3], 'PX', ARGV[4], 'NX')
local is_mine = set or value(at, {MAX_NAME}) == ARGV[3]
found[5] = is_mine and 1 or 0
return found
""")

# name, fact, has user, user, ms, mark, other name ... -> 1, or 0 if it is late
KEEP: Final = _script("""
local start, latest = count()
local name, user, ttl, mark = ARGV[2], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local has_user = ARGV[4] == '1'
redis.call('DEL', key('claim', name))
if mark < start or mark > latest or is_touched('token!', name, mark, latest)
  or (has_user and is_touched('user!', user, mark, latest)) then
  return 0
end
for i = 8, #ARGV do
  if is_touched('token!', ARGV[i], mark, latest) then return 0 end
end
drop(name)
redis.call('HSET', key('fact', name), 'fact', ARGV[3])
if has_user then
  redis.call('HSET', key('fact', name), 'user', user)
  local at, now = key('index', user), clock() / 1000
  if redis.call('TYPE', at)['ok'] ~= 'zset' then redis.call('DEL', at) end
  redis.call('ZREMRANGEBYSCORE', at, '-inf', text(now))
  redis.call('ZADD', at, text(now + ttl), name)
  redis.call('PEXPIRE', at, math.max(ttl, redis.call('PTTL', at)))
end
redis.call('PEXPIRE', key('fact', name), ttl)
return 1
""")

# name, holder
RELEASE: Final = _script(f"""
local at = key('claim', ARGV[2])
if value(at, {MAX_NAME}) == ARGV[3] then redis.call('DEL', at) end
return 1
""")

# user -> stone
STONE_OF_USER: Final = _script("return user_stone(ARGV[2])")

# name, stone, ms, channel, news, other name ... -> 1, how many heard them
BURY: Final = _script("""
bury(ARGV[2], ARGV[3], ARGV[4])
for i = 7, #ARGV do drop(ARGV[i]) end
return {1, redis.call('PUBLISH', ARGV[5], ARGV[6])}
""")

# user, stone, at, ms, channel, news -> name, fact, name, fact ...
BURY_USER: Final = _script(f"""
local at = key('user', ARGV[2])
local before = number(fields(at, {MAX_NAME}, 'at')[1])
if not before or before <= tonumber(ARGV[4]) then
  redis.call('DEL', at)
  redis.call('HSET', at, 'stone', ARGV[3], 'at', ARGV[4])
  redis.call('PEXPIRE', at, ARGV[5])
end
local dropped = drop_user(ARGV[2])
redis.call('PUBLISH', ARGV[6], ARGV[7])
return dropped
""")

# name, stone, ms, name, stone, ms ...
BURY_ALL: Final = _script("""
for i = 2, #ARGV, 3 do bury(ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
return 1
""")

# name, channel, news
FORGET: Final = _script("""
touch('token!', ARGV[2])
drop(ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
""")

# user, channel, news
FORGET_USER: Final = _script("""
drop_user(ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
""")

# -> the mark with which the count began
ORIGIN: Final = _script("return text((count()))")

# channel, news -> the mark with which the count began, which lives on: a lost one is lost data
SAY: Final = _script(f"""
redis.call('PUBLISH', ARGV[2], ARGV[3])
local start = count()
redis.pcall('PEXPIRE', KEYS[1], {COUNT_TTL})
return text(start)
""")
