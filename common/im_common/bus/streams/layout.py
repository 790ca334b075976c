"""How the log lies in Redis (6.2 or later), and the scripts that change it.

A stream for each partition, whose entries hold some records each; beside it, in the same slot of a
cluster, a key that names the partition's owner, and a hash that counts its records: how many were ever
``written``, and how many are ``done``, as what holds them is gone. What is committed is trimmed away,
so what is in a stream is what is still to be done, and **a topic has one consumer group**. A record is
as safe as Redis keeps it: with the append-only file on it survives a kill, and with ``appendfsync
always`` a power cut as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from im_common.bus.interface import BusUnavailable
from im_common.runtime.backoff import describe
from im_common.runtime.laned_redis import LanedRedis

log = structlog.get_logger(__name__)

OUTAGE = (RedisError, OSError, TimeoutError)
DEFAULT_PARTITIONS = 3

# Records of one entry, at most: what Redis takes for an entry is most of what a small record costs it.
MOST_IN_ENTRY = 64

FULL = "the partition holds too many records"
# KEYS: stream, counts. ARGV: most records, then of each entry how many records it has, and these.
# An entry's id is that of its last record; those before it count down from there. `b`: how many were
# written before it.
APPEND = f"""
local counts = redis.call('HMGET', KEYS[2], 'written', 'done')
local written, done = tonumber(counts[1]), tonumber(counts[2])
if not written then
  written, done = redis.call('XLEN', KEYS[1]), 0
  redis.call('HSET', KEYS[2], 'done', 0)
end
if written - done >= tonumber(ARGV[1]) then
  return redis.error_reply('{FULL}')
end
local time = redis.call('TIME')
local ms, count = time[1] * 1000 + math.floor(time[2] / 1000), -1
local about = redis.pcall('XINFO', 'STREAM', KEYS[1])
for i = 1, about.err and 0 or #about, 2 do
  if about[i] == 'last-generated-id' then
    -- It may be of the same moment, or the clock was set back.
    local last_ms, last_count = string.match(about[i + 1], '(%d+)-(%d+)')
    if tonumber(last_ms) >= ms then ms, count = last_ms, tonumber(last_count) end
  end
end
local added = 1
for i = 2, #ARGV, 2 do
  count = count + tonumber(ARGV[i])
  added = redis.pcall('XADD', KEYS[1], ms .. '-' .. count, 'b', written, 'r', ARGV[i + 1])
  if added.err then break end
  written = written + tonumber(ARGV[i])
end
redis.call('HSET', KEYS[2], 'written', written)
return added
"""
# KEYS: stream, owner, counts. ARGV: token, the first id to keep. 0 when the partition is not ours.
COMMIT = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
local trimmed = redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[2])
local written = redis.call('HGET', KEYS[3], 'written')
if trimmed > 0 and written then
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if not first then
    redis.call('HSET', KEYS[3], 'done', written)
  elseif first[2][1] == 'b' then
    redis.call('HSET', KEYS[3], 'done', first[2][2])
  else
    redis.call('HINCRBY', KEYS[3], 'done', trimmed)
  end
end
return 1
"""
# KEYS: stream, owner, counts. ARGV: token, lease in ms. The records there; -1 when it is not ours.
RENEW = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
local counts = redis.call('HMGET', KEYS[3], 'written', 'done')
if not counts[1] then return redis.call('XLEN', KEYS[1]) end
return counts[1] - counts[2]
"""
# KEYS: owner. ARGV: token.
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
# KEYS: members. ARGV: our name, lease in ms. The members alive, by Redis' own clock.
JOIN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""

# What a client keeps in its pool beside the arguments of its connections.
_NOT_COPIED = (
    "maint_notifications_",
    "maintenance_",
    "himport_",
    "orig_",
    "event_dispatcher",
    "oss_cluster_",
)


def stream_key(topic: str, partition: int) -> str:
    return f"bus:{{{topic}:{partition}}}"


def owner_key(topic: str, partition: int) -> str:
    return f"bus:{{{topic}:{partition}}}:owner"


def counts_key(topic: str, partition: int) -> str:
    return f"bus:{{{topic}:{partition}}}:counts"


def members_key(topic: str) -> str:
    return f"bus:{{{topic}}}:members"


def partitions_key(topic: str) -> str:
    return f"bus:{{{topic}}}:partitions"


def own_client(redis: Redis, *, timeout_s: float) -> LanedRedis:
    """A client of the same server with connections of its own, so that blocking reads and the
    bus's time-outs are nobody else's. It tries nothing twice: here a write repeated unseen would
    be a record written twice."""
    pool = redis.connection_pool
    options: dict[str, Any] = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if not name.startswith(_NOT_COPIED)
    }
    options |= {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(2.0, timeout_s),
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "protocol": 2,
        "decode_responses": False,
    }
    own = BlockingConnectionPool(
        connection_class=pool.connection_class,
        timeout=timeout_s,
        **options,
    )
    return LanedRedis(own, timeout_s=timeout_s, tries=1)


async def ensure_topics(topics: Mapping[str, int], *, redis: Redis) -> None:
    """Writes down how many partitions each topic has; the first one to say so decides.

    A topic with fewer partitions than wanted stays as it is (more would move keys), and is logged.

    Raises:
        BusUnavailable: Redis is away.
    """
    try:
        for topic, wanted in topics.items():
            found = await partition_count(redis, topic, wanted)
            if found < wanted:
                log.warning("bus.fewer_partitions", topic=topic, found=found, wanted=wanted)
    except OUTAGE as error:
        raise BusUnavailable(f"topics cannot be made: {describe(error)}") from error


async def partition_count(redis: Redis, topic: str, default: int = DEFAULT_PARTITIONS) -> int:
    """The partitions of ``topic``; ``default`` from now on when nobody has said."""
    await redis.set(partitions_key(topic), default, nx=True)
    return int(await redis.get(partitions_key(topic)) or default)
