"""The Redis client of every service.

A call that Redis does not answer in time raises redis.exceptions.ConnectionError or TimeoutError;
each caller says what that means (fail open for a cache, closed for a session).
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from im_common.runtime.config import RedisConf
from im_common.runtime.timed_redis import TimedRedis

# Bytes in, bytes out.
RedisClient = Redis


def open_redis(conf: RedisConf, *, max_connections: int = 32, timeout_s: float = 2.0) -> Redis:
    """A pool that connects when it is first used. ``timeout_s`` bounds a connect and a reply."""
    return TimedRedis(
        connection_pool=BlockingConnectionPool(
            **connection_options(conf, timeout_s=timeout_s),
            max_connections=max_connections,
            timeout=2,
        )
    )


def connection_options(conf: RedisConf, *, timeout_s: float = 2.0) -> dict[str, Any]:
    """Arguments for a connection of one's own, e.g. for blocking reads."""
    host, _, port = conf.host.rpartition(":")
    options: dict[str, Any] = {
        "host": host,
        "port": int(port),
        "db": conf.db,
        "username": conf.username or None,
        "password": conf.password.get_secret_value() or None,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(1.0, timeout_s),
        # One more try: a pooled connection may have died while it was idle.
        "retry": Retry(NoBackoff(), 1),
    }
    if conf.tls:
        options["connection_class"] = SSLConnection
    return options
