"""The atomic steps of a batch, as Redis runs them.

A batch is a hash ``masquerade:batch:<id>`` (state and counters) and its companions; a task
of it is a key such as ``i-<digest>``: ``list`` finds the inputs, ``i-`` is one input, ``s-``
one segment of a long video, ``j-`` the join of its segments, ``train`` a training. A task's
state is ``queued``, ``running:<token>``, ``split`` (a video whose segments are at work),
``done``, ``skipped``, ``failed`` or ``dropped`` (a segment of a video that failed). Only who
holds the token of a running task may end it, so everything counts exactly once, whoever dies
when; a batch ends with its last open task, in the same step.

KEYS and the first three ARGV (batch id, now in s, life of an ended batch in s) are the same
for all of them.
"""

from __future__ import annotations

RECORD = "masquerade:batch:"
COMPANIONS = (
    "inputs",  # item → JSON: what was listed
    "states",  # task → state
    "at",  # running task → JSON: how far it is
    "results",  # ended item → JSON: its result, or why it failed
    "done",  # items done or skipped, by time
    "failed",  # the dead letters, by time
    "pace",  # ms:<s> and frames:<s> → what was done in the span of time that began then
    "plans",  # split item → JSON: its segments
    # split item → segments not done; <item>:n → all of them; of split and of failed items also
    # <item>:frames, :ms and :bytes_done → what of the counters is theirs, which a retry takes back
    "left",
)
LIVE = "masquerade:batches:live"
PLACES = "masquerade:batches:places"
COUNTS = "masquerade:batches:counts"
BATCHES = "masquerade:batches"
DEAD = "masquerade:batches:dead"
OUTPUTS = "masquerade:batches:outputs"

_COMMON = """
local P, inputs, states, at, results = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local done, failed, pace, plans, left = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local live, places, counts, batches, dead = KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]
local outputs = KEYS[16]
local id, now, ttl = ARGV[1], ARGV[2], ARGV[3]

local function is_live()
  local status = redis.call('HGET', P, 'status')
  return status == 'queued' or status == 'running'
end
local function count(name, by)
  redis.call('HINCRBY', P, name, by)
  redis.call('HINCRBY', counts, name, by)
end
local function leave(status)
  redis.call('HSET', P, 'status', status, 'finished_at', now)
  redis.call('SREM', live, id)
  local place = redis.call('HGET', P, 'place')
  if redis.call('HGET', places, place) == id then redis.call('HDEL', places, place) end
  if place ~= '' then redis.call('ZADD', outputs, now, place) end
  redis.call('HINCRBY', counts, 'batches_' .. status, 1)
  local letters = tonumber(redis.call('HGET', P, 'failed') or 0)
  if letters > 0 and status ~= 'cancelled' then redis.call('SADD', dead, id) end
  for i = 1, 10 do redis.call('EXPIRE', KEYS[i], ttl) end
end
local function opened(by)
  if redis.call('HINCRBY', P, 'open', by) > 0 then return end
  local bad = tonumber(redis.call('HGET', P, 'failed') or 0)
  local good = tonumber(redis.call('HGET', P, 'done') or 0)
  good = good + tonumber(redis.call('HGET', P, 'skipped') or 0)
  local lost = redis.call('HEXISTS', P, 'error') == 1 or (bad > 0 and good == 0)
  leave(lost and 'failed' or 'done')
end
local function holds(key, token)
  local state = redis.call('HGET', states, key)
  if not state then return false end
  if token == '' then return string.sub(state, 1, 8) == 'running:' end
  return state == 'running:' .. token
end
"""

# ARGV: place, task, field, value, ... Answers the id of the live batch that has this place.
CREATE = (
    _COMMON
    + """
if ARGV[4] ~= '' and redis.call('HSETNX', places, ARGV[4], id) == 0 then
  return redis.call('HGET', places, ARGV[4])
end
redis.call('HSET', P, 'status', 'queued', 'place', ARGV[4], 'created_at', now, 'open', 1)
for i = 6, #ARGV, 2 do redis.call('HSET', P, ARGV[i], ARGV[i + 1]) end
redis.call('HSET', states, ARGV[5], 'queued')
redis.call('SADD', live, id)
redis.call('ZADD', batches, now, id)
redis.call('HINCRBY', counts, 'batches_submitted', 1)
return id
"""
)

# ARGV: task, JSON, bytes, ... Answers which of these tasks wait; -1 when the batch is over.
ADD = (
    _COMMON
    + """
if not is_live() then return -1 end
local waiting = {}
for i = 4, #ARGV, 3 do
  if redis.call('HSETNX', inputs, ARGV[i], ARGV[i + 1]) == 1 then
    redis.call('HSET', states, ARGV[i], 'queued')
    redis.call('HINCRBY', P, 'open', 1)
    redis.call('HINCRBY', P, 'bytes', ARGV[i + 2])
    count('total', 1)
  end
  if redis.call('HGET', states, ARGV[i]) == 'queued' then waiting[#waiting + 1] = ARGV[i] end
end
return waiting
"""
)

# ARGV: task, its item ('' when it has none). Answers a token, 'split' or '' (nothing to do).
BEGIN = (
    _COMMON
    + """
if not is_live() then return '' end
local state = redis.call('HGET', states, ARGV[4])
if state == 'split' then return 'split' end
if state ~= 'queued' and not holds(ARGV[4], '') then return '' end
if ARGV[5] ~= '' and redis.call('HGET', states, ARGV[5]) ~= 'split' then return '' end
local token = redis.call('HINCRBY', P, 'token', 1)
redis.call('HSET', states, ARGV[4], 'running:' .. token)
if redis.call('HGET', P, 'status') == 'queued' then
  redis.call('HSET', P, 'status', 'running')
  redis.call('HSETNX', P, 'started_at', now)
end
return tostring(token)
"""
)

# ARGV: task, token, JSON. Answers whether the token still holds.
NOTE = (
    _COMMON
    + """
if not is_live() or not holds(ARGV[4], ARGV[5]) then return 0 end
redis.call('HSET', at, ARGV[4], ARGV[6])
return 1
"""
)

# ARGV: task, token ('' = any), new state, JSON, span of time, counter, by, ...
# Answers whether the token held.
END = (
    _COMMON
    + """
local key, to, record, span = ARGV[4], ARGV[6], ARGV[7], ARGV[8]
if not is_live() or not holds(key, ARGV[5]) then return 0 end
redis.call('HDEL', at, key)
redis.call('HSET', states, key, to)
if to == 'queued' then return 1 end
for i = 9, #ARGV, 2 do
  count(ARGV[i], ARGV[i + 1])
  if ARGV[i] == 'ms' or ARGV[i] == 'frames' then
    redis.call('HINCRBY', pace, ARGV[i] .. ':' .. span, ARGV[i + 1])
  end
end

local kind, item = string.sub(key, 1, 2), 'i-' .. string.sub(key, 3, 34)
local function pass_over()
  local listed = redis.call('HGET', inputs, item)
  local size = listed and cjson.decode(listed).size or 0
  local own = tonumber(redis.call('HGET', left, item .. ':bytes_done') or 0)
  redis.call('HINCRBY', P, 'bytes_done', string.format('%d', size - own))
  redis.call('HSET', left, item .. ':bytes_done', string.format('%d', size))
end
local function end_item(state)
  if state == 'failed' then pass_over() end
  redis.call('HSET', states, item, state)
  redis.call('HSET', results, item, record)
  redis.call('ZADD', state == 'failed' and failed or done, now, item)
  count(state, 1)
  opened(-1)
end
local function drop(task)
  local state = redis.call('HGET', states, task)
  if state == 'queued' or holds(task, '') then
    redis.call('HSET', states, task, 'dropped')
    redis.call('HDEL', at, task)
    redis.call('HINCRBY', P, 'open', -1)
  end
end

if kind == 'i-' then
  end_item(to)
elseif kind == 's-' or kind == 'j-' then
  redis.call('HINCRBY', P, 'open', -1)
  for i = 9, kind == 's-' and #ARGV or 0, 2 do
    redis.call('HINCRBY', left, item .. ':' .. ARGV[i], ARGV[i + 1])
  end
  if to == 'failed' then
    local digest = string.sub(item, 3)
    for i = 0, tonumber(redis.call('HGET', left, item .. ':n')) - 1 do
      drop('s-' .. digest .. '-' .. i)
    end
    drop('j-' .. digest)
    end_item('failed')
  elseif kind == 'j-' then
    end_item(to)
  elseif redis.call('HINCRBY', left, item, -1) == 0 then
    redis.call('HSET', states, 'j-' .. string.sub(item, 3), 'queued')
    redis.call('HINCRBY', P, 'open', 1)
  end
else
  redis.call('HSET', P, to == 'failed' and 'error' or 'result', record)
  opened(-1)
end
return 1
"""
)

# ARGV: item, token, JSON of the plan, number of segments. Answers whether the token holds.
SPLIT = (
    _COMMON
    + """
local key, n = ARGV[4], tonumber(ARGV[7])
if not is_live() or not holds(key, ARGV[5]) then return 0 end
redis.call('HDEL', at, key)
redis.call('HSET', states, key, 'split')
redis.call('HSET', plans, key, ARGV[6])
redis.call('HSET', left, key, n, key .. ':n', n)
for i = 0, n - 1 do
  redis.call('HSET', states, 's-' .. string.sub(key, 3) .. '-' .. i, 'queued')
end
redis.call('HINCRBY', P, 'open', n)
return 1
"""
)

# Answers the tasks that wait again; 0 when the batch was cancelled or is gone, 1 when another
# live one has its place.
RETRY = (
    _COMMON
    + """
local status = redis.call('HGET', P, 'status')
if not status or status == 'cancelled' then return 0 end
local place = redis.call('HGET', P, 'place')
if place ~= '' and redis.call('HSETNX', places, place, id) == 0
  and redis.call('HGET', places, place) ~= id then return 1 end
local again = redis.call('ZRANGE', failed, 0, -1)
for _, key in ipairs(again) do
  redis.call('HSET', states, key, 'queued')
  redis.call('HDEL', results, key)
  redis.call('HDEL', plans, key)
  for _, name in ipairs({'frames', 'ms', 'bytes_done'}) do
    local own = redis.call('HGET', left, key .. ':' .. name)
    if own then redis.call('HINCRBY', P, name, string.format('%d', -tonumber(own))) end
    redis.call('HDEL', left, key .. ':' .. name)
  end
end
if #again > 0 then redis.call('HINCRBY', P, 'failed', -#again) end
redis.call('DEL', failed)
for _, key in ipairs({'list', 'train'}) do
  if redis.call('HGET', states, key) == 'failed' then
    redis.call('HSET', states, key, 'queued')
    redis.call('HDEL', P, 'error')
    again[#again + 1] = key
  end
end
if #again == 0 then
  if status ~= 'queued' and status ~= 'running' then redis.call('HDEL', places, place) end
  return again
end
redis.call('HINCRBY', P, 'open', #again)
if status ~= 'queued' and status ~= 'running' then
  redis.call('HSET', P, 'status', 'queued')
  redis.call('HDEL', P, 'finished_at')
  redis.call('SADD', live, id)
  redis.call('SREM', dead, id)
end
for i = 1, 10 do redis.call('PERSIST', KEYS[i]) end
return again
"""
)

CANCEL = (
    _COMMON
    + """
if not is_live() then return 0 end
leave('cancelled')
return 1
"""
)
