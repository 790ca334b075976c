"""Channels to other services: found through etcd, balanced, with deadline, identity and retries.

    channel = connect(conf, etcd, tokens)
    await channel.start()
    users = UserServiceStub(channel)
    await users.GetUser(request)

A generated stub is built once on a :class:`BalancedChannel`. The gRPC channel underneath is replaced
whenever the set of instances changes, or the certificates; calls in flight end on the old one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, NoReturn

import grpc
import structlog

from im_common.discovery import EndpointWatcher, EtcdClient
from im_common.errors import unavailable
from im_common.rpc.calling import Caller
from im_common.rpc.channel_options import channel_options, is_repeatable
from im_common.rpc.peer_tls import PeerTls
from im_common.rpc.service_token import ServiceTokens
from im_common.rpc.streams import Exchange
from im_common.rpc.target import direct_target, look_up
from im_common.runtime.sections import ClientConf
from im_common.runtime.tasks import background, end

log = structlog.get_logger(__name__)

FIRST_ENDPOINT_S = 1.0
CLOSE_GRACE_S = 5.0
LOOK_UP_AGAIN_S = 10.0


def connect(
    conf: ClientConf, etcd: EtcdClient | None, tokens: ServiceTokens, tls: PeerTls | None = None
) -> BalancedChannel:
    """A channel to the service that ``conf`` names, to be started with ``start()``.

    Raises:
        ValueError: ``conf`` has no fixed endpoints, and no key or no etcd to find them with.
    """
    if conf.endpoints:
        name = conf.key or ",".join(conf.endpoints)
        return BalancedChannel(
            name, tokens, tls=tls, timeout_ms=conf.timeout, endpoints=conf.endpoints
        )
    if etcd is None or not conf.key:
        raise ValueError("a client needs Endpoints, or Key and etcd")
    watcher = EndpointWatcher(etcd, conf.key)
    return BalancedChannel(conf.key, tokens, tls=tls, timeout_ms=conf.timeout, watcher=watcher)


class BalancedChannel(grpc.aio.Channel):
    """Looks like one channel, spreads its calls evenly over all instances of a service.

    A call raises :class:`AppError` and nothing else: what the service answered, UNAVAILABLE, or
    DEADLINE_EXCEEDED; never gRPC's own texts. Its time is the least of the channel's timeout, the
    ``timeout`` argument (seconds) and what the current request has left. Methods whose proto says
    that they can be repeated are retried when an instance is away. A method with streams both ways is
    an ``Exchange``; others with streams do not work.
    """

    def __init__(
        self,
        name: str,
        tokens: ServiceTokens,
        *,
        tls: PeerTls | None = None,
        timeout_ms: int,
        endpoints: Sequence[str] = (),
        watcher: EndpointWatcher | None = None,
        ping_every_ms: int | None = None,
    ) -> None:
        """``name`` is for messages; the instances are ``endpoints``, or what ``watcher`` sees.
        ``ping_every_ms``: how soon an instance is missed that stands still during a call."""
        self.name = name
        self.timeout_s = timeout_ms / 1000
        # time.monotonic() of the last call.
        self.last_used = time.monotonic()
        self._ping_every_ms = ping_every_ms
        self._tokens = tokens
        self._tls = tls
        # With which the channel underneath was made.
        self._credentials: grpc.ChannelCredentials | None = None
        self._watcher = watcher
        self._closed = False
        self._callers: dict[tuple[object, ...], Caller] = {}
        self._exchanges: dict[tuple[object, ...], Exchange] = {}
        self._repeatable: set[str] = set()
        self._target: str | None = None
        self._known = asyncio.Event()
        self._real: grpc.aio.Channel | None = None
        self._look_up: asyncio.Task[None] | None = None
        # Replaced channels, and who closes them when their calls have ended.
        self._retired: dict[grpc.aio.Channel, asyncio.Task[None]] = {}
        if watcher is not None:
            watcher.on_change = self.use
        elif direct_target(endpoints) is not None:
            self.use(endpoints)
        self._endpoints = endpoints

    async def start(self) -> None:
        """Begins to follow the instances. It does not wait for one; the first calls do."""
        if self._watcher is not None:
            await self._watcher.start()
        elif self._target is None:
            self.use(self._endpoints)

    async def close(self, grace: float | None = None) -> None:
        """Ends the calls in flight after ``grace`` seconds, or at once."""
        self._closed = True
        for exchange in self._exchanges.values():
            exchange.end()
        if self._watcher is not None:
            await self._watcher.stop()
        await end(self._look_up, *self._retired.values())
        real = (self._real,) if self._real is not None else ()
        self._real = None
        await asyncio.gather(*(channel.close(grace) for channel in (*real, *self._retired)))
        self._retired.clear()

    def use(self, endpoints: Iterable[str]) -> None:
        """From now on the instances are ``endpoints`` (`host:port`); for the next call on."""
        if self._look_up is not None:
            self._look_up.cancel()
            self._look_up = None
        addresses = frozenset(endpoints)
        target = direct_target(addresses)
        if target is None and addresses:
            self._look_up = background(self._follow_names(addresses), "names")
        else:
            self._swap(target)

    async def call_ready(self, limit_s: float) -> grpc.aio.Channel:
        """The gRPC channel for one call, which waits for a first instance if it must.

        Raises:
            AppError: UNAVAILABLE when there is none, or the channel is closed.
        """
        if self._tls is not None and self._tls.credentials is not self._credentials:
            # Where the old channel leads is as good as ever, so its calls have all of their time.
            self._retire(self.timeout_s)
        if self._real is not None:
            return self._real
        if self._target is None and not self._closed:
            try:
                async with asyncio.timeout(min(FIRST_ENDPOINT_S, limit_s)):
                    await self._known.wait()
            except TimeoutError:
                raise unavailable(f"{self.name} has no instance") from None
        return self._open()

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> Caller:
        kind = (method, request_serializer, response_deserializer)
        caller = self._callers.get(kind)
        if caller is None:
            caller = Caller(self, self._tokens, method, request_serializer, response_deserializer)
            self._callers[kind] = caller
            if method not in self._repeatable and is_repeatable(method):
                self._repeatable.add(method)
                # Retries are part of a channel's making.
                self._retire()
        return caller

    def _swap(self, target: str | None) -> None:
        if target == self._target:
            return
        log.info("instances changed", client=self.name, target=target)
        in_use = self._real is not None
        self._target = target
        self._retire()
        if target is None:
            self._known.clear()
            return
        self._known.set()
        if in_use:
            self._open().get_state(try_to_connect=True)

    def _open(self) -> grpc.aio.Channel:
        # Made with the first call: by then the stubs have told their methods, and a loop runs.
        if self._closed or self._target is None:
            raise unavailable(f"{self.name} has no instance")
        if self._real is None:
            options = channel_options(self._repeatable, self._ping_every_ms)
            self._real = self._make(self._target, options)
        return self._real

    def _make(self, target: str, options: list[tuple[str, Any]]) -> grpc.aio.Channel:
        if self._tls is None:
            return grpc.aio.insecure_channel(target, options=options)
        self._credentials = self._tls.credentials
        options += self._tls.channel_options
        return grpc.aio.secure_channel(target, self._credentials, options=options)

    def _retire(self, grace_s: float = CLOSE_GRACE_S) -> None:
        if self._real is not None:
            self._retired[self._real] = background(
                self._end(self._real, grace_s), "channel", may_return=lambda: True
            )
            self._real = None

    async def _end(self, replaced: grpc.aio.Channel, grace_s: float) -> None:
        await replaced.close(grace_s)
        del self._retired[replaced]

    async def _follow_names(self, addresses: frozenset[str]) -> None:
        while True:
            found = await look_up(addresses)
            if found:
                self._swap(direct_target(found))
            await asyncio.sleep(LOOK_UP_AGAIN_S if found else FIRST_ENDPOINT_S)

    async def channel_ready(self) -> None:
        await self._known.wait()
        await self._open().channel_ready()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        if self._closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        if self._real is None:
            return grpc.ChannelConnectivity.IDLE
        return self._real.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        raise NotImplementedError("the channel underneath may be replaced")

    def unary_stream(self, *_args: Any, **_kwargs: Any) -> Any:
        return _Unsupported()

    def stream_unary(self, *_args: Any, **_kwargs: Any) -> Any:
        return _Unsupported()

    def stream_stream(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> Exchange:
        kind = (method, request_serializer, response_deserializer)
        exchange = self._exchanges.get(kind)
        if exchange is None:
            exchange = Exchange(self, self._tokens, *kind)
            self._exchanges[kind] = exchange
        return exchange

    async def __aenter__(self) -> BalancedChannel:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.close()


class _Unsupported:
    """Streams one way: a stub may name them, a call fails."""

    def __call__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise NotImplementedError("a BalancedChannel has no streams one way")


class AddressChannels:
    """Channels to particular instances, by address; one that rests for a minute is closed.

    Ask with ``get`` for each use: a channel that was closed for its rest takes no more calls.
    """

    def __init__(
        self,
        tokens: ServiceTokens,
        *,
        tls: PeerTls | None = None,
        timeout_ms: int = 2000,
        idle_s: float = 60.0,
        ping_every_ms: int | None = None,
    ) -> None:
        """``timeout_ms`` is the longest that a call may take."""
        self._tokens = tokens
        self._tls = tls
        self._ping_every_ms = ping_every_ms
        self._timeout_ms = timeout_ms
        self._idle_s = idle_s
        self._channels: dict[str, BalancedChannel] = {}
        self._sweeper: asyncio.Task[None] | None = None

    def get(self, address: str) -> BalancedChannel:
        """The channel to ``address`` (`host:port`). Stubs on it are cheap to build again."""
        channel = self._channels.get(address)
        if channel is None:
            channel = BalancedChannel(
                address,
                self._tokens,
                tls=self._tls,
                timeout_ms=self._timeout_ms,
                endpoints=(address,),
                ping_every_ms=self._ping_every_ms,
            )
            self._channels[address] = channel
            if self._sweeper is None:
                self._sweeper = background(self._sweep(), "channels")
        channel.last_used = time.monotonic()
        return channel

    async def close(self) -> None:
        await end(self._sweeper)
        self._sweeper = None
        channels, self._channels = self._channels, {}
        await asyncio.gather(*(channel.close() for channel in channels.values()))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._idle_s / 4)
            limit = time.monotonic() - self._idle_s
            for address, channel in list(self._channels.items()):
                if channel.last_used < limit:
                    del self._channels[address]
                    await channel.close(CLOSE_GRACE_S)
