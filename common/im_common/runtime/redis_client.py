"""The Redis client of every service: of one server, of a cluster, or of the master that Sentinels name.

A call that Redis does not answer in time raises redis.exceptions.ConnectionError or TimeoutError;
each caller says what that means (fail open for a cache, closed for a session).

What a cluster cannot do is not done anywhere: a command has the keys of one slot, a pipeline is no
transaction, and what belongs together is one script (``redis_scripts``).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, SSLConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from im_common.runtime.laned_redis import LanedRedis
from im_common.runtime.sections import RedisConf
from im_common.runtime.timed_redis import TimedRedis, timed

# A pooled connection may lead to a master that is none any more: so often the Sentinels are asked.
_ASK_SENTINELS_EVERY_S = 1.0
_LEARN_SLOTS_EVERY_S = 1.0
# One more: a connection may have died while it was idle.
_TRIES = 2


def open_redis(conf: RedisConf, *, max_connections: int = 32, timeout_s: float = 2.0) -> Redis:
    """A client that connects when it is first used; of a cluster it has the same commands, and so many
    connections to each node. It gives bytes. ``timeout_s`` bounds a connect and a reply."""
    if conf.type == "cluster":
        return cast("Redis", ClusterRedis(conf, max_connections, timeout_s))
    pool: dict[str, Any] = {
        **connection_options(conf, timeout_s=timeout_s),
        "max_connections": max_connections,
        "timeout": 2,
    }
    if conf.type == "sentinel":
        return SentinelRedis(conf, pool, timeout_s)
    return LanedRedis(BlockingConnectionPool(**pool), timeout_s=timeout_s, tries=_TRIES)


def connection_options(conf: RedisConf, *, timeout_s: float = 2.0) -> dict[str, Any]:
    """Arguments for a connection to one server."""
    host, port = conf.addresses[0]
    options = _options(conf, timeout_s) | {"host": host, "port": port, "db": conf.db}
    if conf.tls:
        options["connection_class"] = SSLConnection
    return options


def _options(conf: RedisConf, timeout_s: float) -> dict[str, Any]:
    """Of any connection, but where it leads."""
    return {
        "username": conf.username or None,
        "password": conf.password.get_secret_value() or None,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(1.0, timeout_s),
        "retry": Retry(NoBackoff(), _TRIES - 1),
        **_tls(conf),
    }


def _tls(conf: RedisConf) -> dict[str, Any]:
    if not conf.tls:
        return {}
    return {
        "ssl_ca_certs": conf.tls_ca_file or None,
        "ssl_certfile": conf.tls_cert_file or None,
        "ssl_keyfile": conf.tls_key_file or None,
    }


async def run_of(redis: Redis) -> str:
    """Which run of the server, or of all primaries of a cluster, this is: another one has not all that
    the one before had."""
    if isinstance(redis, ClusterRedis):
        infos = await redis.of_each_primary("INFO", "server")
        return ",".join(sorted(str(info["run_id"]) for info in infos))
    server: Any = await redis.info("server")
    return str(server.get("run_id", ""))


async def answers(redis: Redis) -> None:
    """Returns when the server, or each primary of a cluster, does. Raises what redis-py raises."""
    if isinstance(redis, ClusterRedis):
        await redis.of_each_primary("PING")
    else:
        await redis.ping()


class ClusterRedis(RedisCluster):
    """A cluster. Its own commands and pipelines follow redirections; it is asked for its slots anew
    when a node does not answer."""

    def __init__(self, conf: RedisConf, max_connections: int, timeout_s: float) -> None:
        # time.monotonic() at which its slots were asked for.
        self._learnt_at = float("-inf")
        # Names of primaries that had no replica when they were last asked.
        self.alone: set[str] = set()
        nodes = [ClusterNode(host, port) for host, port in conf.addresses]
        # Beyond its bound a node's pool waits for nobody, so it is wider than that of one server.
        super().__init__(
            startup_nodes=nodes,
            max_connections=8 * max_connections,
            ssl=conf.tls,
            **_options(conf, timeout_s),
        )

    async def initialize(self, *arguments: Any, **options: Any) -> RedisCluster:
        # Each time all connections are made anew: where many calls fail at once that is a storm.
        if self.get_default_node() and self._learnt_at > time.monotonic() - _LEARN_SLOTS_EVERY_S:
            self._initialize = False
        if not self._initialize:
            return self
        try:
            await super().initialize(*arguments, **options)
        except RedisClusterException as error:
            # That nobody can be reached is no bug: its class is that of one, and no RedisError.
            raise RedisConnectionError(str(error)) from error
        self._learnt_at = time.monotonic()
        return self

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        with timed(args[0]):
            return await super().execute_command(*args, **options)

    def forget_slots(self) -> None:
        """They are asked for before the next command."""
        self._initialize = True

    async def of_each_primary(self, *command: str) -> list[Any]:
        """What each primary answers."""
        await self.initialize()
        asked = (node.execute_command(*command) for node in self.get_primaries())
        found = await asyncio.gather(*asked, return_exceptions=True)
        for answer in found:
            if isinstance(answer, BaseException):
                self.forget_slots()
                raise answer
        return found

    async def agrees_on(self, leader: ClusterNode) -> bool:
        """Whether most primaries call the node one: not only itself, after it was cut off."""
        primaries = self.get_primaries()
        others = [node for node in primaries if node.name != leader.name]
        asked = (node.execute_command("CLUSTER NODES") for node in others)
        votes = 1
        for seen in await asyncio.gather(*asked, return_exceptions=True):
            flags = "" if isinstance(seen, BaseException) else _flags(seen, leader)
            votes += "master" in flags and "fail" not in flags
        return votes > (len(others) + 1) // 2


def _flags(seen: dict[str, dict[str, Any]], node: ClusterNode) -> str:
    return str(seen.get(f"{node.host}:{node.port}", {}).get("flags", ""))


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Waits for a free connection as the pool of one server does, and leaves a master soon after the
    Sentinels did."""

    _asked_at = 0.0

    async def get_connection(self, *arguments: Any, **options: Any) -> Any:
        now = time.monotonic()
        if now - self._asked_at > _ASK_SENTINELS_EVERY_S:
            self._asked_at = now
            # Without Sentinels what is connected goes on.
            with suppress(RedisError, OSError):
                await self.get_master_address()  # type: ignore[no-untyped-call]
        return await super().get_connection(*arguments, **options)  # type: ignore[no-untyped-call]


class SentinelRedis(TimedRedis):
    """The master of the name, whichever server that is."""

    def __init__(self, conf: RedisConf, pool: dict[str, Any], timeout_s: float) -> None:
        asking = _options(conf, min(1.0, timeout_s)) | {
            "username": conf.sentinel_username or None,
            "password": conf.sentinel_password.get_secret_value() or None,
            "ssl": conf.tls,
        }
        # The master had no replica when it was last asked.
        self.is_alone = False
        self._name = conf.master_name
        sentinel: Any = Sentinel
        self._sentinel = sentinel(conf.addresses, sentinel_kwargs=asking)
        pool = {k: v for k, v in pool.items() if k not in ("host", "port", "connection_class")}
        make: Any = _SentinelPool
        super().__init__(connection_pool=make(self._name, self._sentinel, ssl=conf.tls, **pool))

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        await self.connection_pool.disconnect()
        await self._sentinel.aclose()

    async def agrees_on(self, run_id: str) -> bool:
        """Whether most Sentinels call the server of this run the master, and reach it."""
        sentinels = list(self._sentinel.sentinels)
        asked = (sentinel.sentinel_masters() for sentinel in sentinels)
        votes = 0
        for masters in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(masters, RedisError | OSError | RedisTimeoutError):
                continue
            state: Any = {} if isinstance(masters, BaseException) else masters.get(self._name, {})
            votes += state.get("runid") == run_id and not state.get("is_odown")
        return votes > len(sentinels) // 2
