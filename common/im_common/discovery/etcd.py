"""The few calls of etcd that discovery needs, each with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import grpc

from im_common.discovery import etcd_api_pb2 as api
from im_common.discovery.etcd_api_pb2_grpc import KVStub, LeaseStub, WatchStub
from im_common.rpc.target import direct_target
from im_common.runtime.tasks import is_told_to_end

T = TypeVar("T")

# A watch that brings nothing for this long is begun anew by who reads it.
WATCH_QUIET_S = 30.0
# A member that has lost its leader must end a stream, not hold it silently.
_METADATA = (("hasleader", "true"),)
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Bounds one attempt to connect: a frozen server accepts and then says nothing.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # etcd counts more than a ping in 5 s as abuse. With an open watch these notice a frozen etcd.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # What bounds the answer to a ping; keepalive_timeout_ms alone leaves it at a minute.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]


class EtcdError(ConnectionError):
    """etcd did not do what was asked, most often because it is away; trying again may help."""


class LeaseGone(EtcdError):
    """The lease has expired, or etcd has lost its data."""


class Compacted(EtcdError):
    """The changes from the wanted revision on are no longer known: read the whole again."""


class EtcdClient:
    """One connection to a cluster, for any number of registrations and watchers.

    It stays with one host as long as that answers, then goes on to the next.
    """

    def __init__(self, hosts: Sequence[str], *, timeout_s: float = 3.0) -> None:
        """``hosts`` are `host:port`; ``timeout_s`` is for one call."""
        if not hosts:
            raise ValueError("etcd needs at least one host")
        self._hosts = list(hosts)
        self._timeout_s = timeout_s
        self._connection: _Connection | None = None
        self._turn = 0
        self._closing: set[asyncio.Task[None]] = set()

    async def put(self, key: str, value: str, *, lease: int = 0) -> None:
        """Raises LeaseGone or EtcdError."""
        request = api.PutRequest(key=key.encode(), value=value.encode(), lease=lease)
        with self._errors() as connection:
            await connection.kv.Put(request, timeout=self._timeout_s)

    async def range(self, prefix: str) -> tuple[dict[str, str], int]:
        """All keys that begin with ``prefix``, and the revision at which they were so."""
        key, end = _range_of(prefix)
        request = api.RangeRequest(key=key, range_end=end)
        with self._errors() as connection:
            answer = await connection.kv.Range(request, timeout=self._timeout_s)
        return {_text(kv.key): _text(kv.value) for kv in answer.kvs}, answer.header.revision

    async def grant(self, ttl_s: int) -> int:
        """A new lease's id."""
        request = api.LeaseGrantRequest(TTL=ttl_s)
        with self._errors() as connection:
            answer = await connection.lease.LeaseGrant(request, timeout=self._timeout_s)
        return answer.ID

    async def keep_alive(self, lease: int, *, timeout_s: float | None = None) -> int:
        """Renews the lease once and gives its time to live in seconds. Raises LeaseGone."""
        limit_s = timeout_s or self._timeout_s
        request = api.LeaseKeepAliveRequest(ID=lease)
        with self._errors() as connection:
            call = connection.lease.LeaseKeepAlive(
                iter((request,)), timeout=limit_s, metadata=_METADATA
            )
            try:
                answer = await _read(call, limit_s)
            finally:
                call.cancel()
        if answer.TTL <= 0:
            raise LeaseGone(f"lease {lease} is gone")
        return answer.TTL

    async def revoke(self, lease: int, *, timeout_s: float | None = None) -> None:
        """Ends the lease; its keys go with it. Raises LeaseGone or EtcdError."""
        request = api.LeaseRevokeRequest(ID=lease)
        with self._errors() as connection:
            await connection.lease.LeaseRevoke(request, timeout=timeout_s or self._timeout_s)

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[dict[str, str | None]]:
        """Changes below ``prefix`` from ``revision`` on: key to value, None for a deleted one.

        The first one is empty: the watch stands. It ends after WATCH_QUIET_S without a change.

        Raises:
            Compacted: ``revision`` is too old.
            EtcdError: etcd went away, or froze.
        """
        key, end = _range_of(prefix)
        create = api.WatchCreateRequest(key=key, range_end=end, start_revision=revision)
        with self._errors() as connection:
            # No iterator of requests: the stream must stay open on our side too.
            call = connection.watch.Watch(metadata=_METADATA)
            try:
                async with asyncio.timeout(self._timeout_s):
                    await call.write(api.WatchRequest(create_request=create))
                yield _changes(await _read(call, self._timeout_s))
                while True:
                    try:
                        answer = await _read(call, WATCH_QUIET_S)
                    except TimeoutError:
                        return
                    yield _changes(answer)
            finally:
                call.cancel()

    async def close(self) -> None:
        """Ends all calls; whoever waits in one gets EtcdError."""
        if self._connection is not None:
            self._drop(self._connection)
        await asyncio.gather(*self._closing, return_exceptions=True)

    @contextmanager
    def _errors(self) -> Iterator[_Connection]:
        connection = self._connect()
        try:
            yield connection
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError) as error:
            # A write to a stream that is dead raises InvalidStateError.
            if isinstance(error, grpc.aio.AioRpcError):
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    raise LeaseGone("etcd does not know the lease") from error
                reason = f"{error.code().name}: {error.details()}"
            else:
                reason = str(error)
            self._drop(connection)
            raise EtcdError(f"{connection.host}: {reason}") from error
        except TimeoutError as error:
            self._drop(connection)
            raise EtcdError(f"{connection.host}: no answer in time") from error
        except asyncio.CancelledError:
            if is_told_to_end():
                raise
            # Another user of the connection dropped it; nobody cancelled this task.
            raise EtcdError(f"{connection.host}: the connection was dropped") from None

    def _connect(self) -> _Connection:
        if self._connection is None:
            self._connection = _Connection(self._hosts[self._turn % len(self._hosts)])
        return self._connection

    def _drop(self, connection: _Connection) -> None:
        """The next call takes a new connection, to the next host; others on this one must too."""
        if connection is not self._connection:
            return
        self._connection = None
        self._turn += 1
        closing = asyncio.create_task(connection.channel.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


class _Connection:
    def __init__(self, host: str) -> None:
        self.host = host
        self.channel = grpc.aio.insecure_channel(direct_target((host,)) or host, options=_OPTIONS)
        self.kv = KVStub(self.channel)
        self.lease = LeaseStub(self.channel)
        self.watch = WatchStub(self.channel)


async def _read(call: grpc.aio.StreamStreamCall[Any, T], limit_s: float) -> T:
    async with asyncio.timeout(limit_s):
        answer = await call.read()
    if answer is grpc.aio.EOF:
        raise EtcdError("etcd ended the stream")
    return cast("T", answer)


def _changes(answer: api.WatchResponse) -> dict[str, str | None]:
    if answer.compact_revision:
        raise Compacted(f"compacted up to {answer.compact_revision}")
    if answer.canceled:
        raise EtcdError(f"the watch was cancelled: {answer.cancel_reason}")
    return {
        _text(event.kv.key): _text(event.kv.value) if event.type == api.Event.PUT else None
        for event in answer.events
    }


def _range_of(prefix: str) -> tuple[bytes, bytes]:
    """Where a prefix begins and the first key after it."""
    key = prefix.encode()
    return key, key[:-1] + bytes((key[-1] + 1,))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
