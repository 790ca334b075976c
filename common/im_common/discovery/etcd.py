"""The few calls of etcd that discovery needs, each with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import sample
from typing import Any, TypeVar, cast

import grpc

from im_common.discovery import etcd_api_pb2 as api
from im_common.discovery.access import Access, Connection
from im_common.runtime.sections import EtcdConf
from im_common.runtime.tasks import is_told_to_end

T = TypeVar("T")

# A watch that brings nothing for this long is begun anew by who reads it.
WATCH_QUIET_S = 30.0


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

    def __init__(self, conf: EtcdConf, *, timeout_s: float = 3.0) -> None:
        """``timeout_s`` is for one call. Raises ValueError when the settings cannot be used."""
        self._access = Access(conf)
        # So that not all processes are with the same one.
        self._hosts = sample(self._access.hosts, len(self._access.hosts))
        self._timeout_s = timeout_s
        self._connection: Connection | None = None
        self._turn = 0
        self._closing: set[asyncio.Task[None]] = set()

    async def put(self, key: str, value: str, *, lease: int = 0) -> None:
        """Raises LeaseGone or EtcdError."""
        request = api.PutRequest(key=key.encode(), value=value.encode(), lease=lease)
        await self._ask(lambda connection: connection.kv.Put, request)

    async def range(self, prefix: str) -> tuple[dict[str, str], int]:
        """All keys that begin with ``prefix``, and the revision at which they were so."""
        key, end = _range_of(prefix)
        request = api.RangeRequest(key=key, range_end=end)
        answer = await self._ask(lambda connection: connection.kv.Range, request)
        return {_text(kv.key): _text(kv.value) for kv in answer.kvs}, answer.header.revision

    async def grant(self, ttl_s: int) -> int:
        """A new lease's id."""
        request = api.LeaseGrantRequest(TTL=ttl_s)
        answer = await self._ask(lambda connection: connection.lease.LeaseGrant, request)
        return int(answer.ID)

    async def keep_alive(self, lease: int, *, timeout_s: float | None = None) -> int:
        """Renews the lease once and gives its time to live in seconds. Raises LeaseGone."""
        limit_s = timeout_s or self._timeout_s
        request = api.LeaseKeepAliveRequest(ID=lease)
        with self._errors() as connection:
            metadata = await connection.metadata(limit_s)
            call = connection.lease.LeaseKeepAlive(
                iter((request,)), timeout=limit_s, metadata=metadata
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
        await self._ask(lambda connection: connection.lease.LeaseRevoke, request, timeout_s)

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
            call = connection.watch.Watch(metadata=await connection.metadata(self._timeout_s))
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

    async def _ask(
        self,
        method: Callable[[Connection], Callable[..., Awaitable[Any]]],
        request: Any,
        timeout_s: float | None = None,
    ) -> Any:
        """One call of one answer; once more when the log-in had run out."""
        limit_s = timeout_s or self._timeout_s
        with self._errors() as connection:
            metadata = await connection.metadata(limit_s)
            try:
                return await method(connection)(request, timeout=limit_s, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                if not connection.is_logged_out(error):
                    raise
            metadata = await connection.metadata(limit_s)
            return await method(connection)(request, timeout=limit_s, metadata=metadata)

    @contextmanager
    def _errors(self) -> Iterator[Connection]:
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

    def _connect(self) -> Connection:
        if self._connection is None:
            host = self._hosts[self._turn % len(self._hosts)]
            try:
                self._connection = Connection(host, self._access)
            except ValueError as error:
                # They were good at the start, and may be again.
                raise EtcdError(f"{host}: {error}") from error
        return self._connection

    def _drop(self, connection: Connection) -> None:
        """The next call takes a new connection, to the next host; others on this one must too."""
        if connection is not self._connection:
            return
        self._connection = None
        self._turn += 1
        closing = asyncio.create_task(connection.channel.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


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
