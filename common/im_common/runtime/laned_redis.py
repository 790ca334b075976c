"""A client of one Redis server whose commands share a connection (``redis_lane``)."""

from __future__ import annotations

from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.client import Pipeline
from redis.exceptions import ResponseError

from im_common.runtime.redis_lane import Lane
from im_common.runtime.timed_redis import TimedPipeline, TimedRedis, timed

# What waits in Redis, or belongs to its connection, has one of the pool's for itself.
_OF_ONE_CONNECTION = frozenset(
    {
        *("AUTH", "CLIENT", "HELLO", "MONITOR", "MULTI", "SELECT", "WATCH"),
        *("PSUBSCRIBE", "SSUBSCRIBE", "SUBSCRIBE", "WAIT", "WAITAOF", "XREAD", "XREADGROUP"),
        *("BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZMPOP", "BZPOPMAX", "BZPOPMIN"),
    }
)


class LanedRedis(TimedRedis):
    """Its commands go out in the order in which they are called, and wait for nobody's answer but those
    of Redis before them. Scripts and large answers hold up what is behind them, as they do in Redis."""

    def __init__(self, pool: ConnectionPool, *, timeout_s: float, tries: int) -> None:
        """``pool`` has what does not share a connection; ``tries`` is how often a command is sent whose
        connection breaks."""
        super().__init__(connection_pool=pool)
        self.lane = self.lane_of_its_own(timeout_s)
        self.tries = tries

    def lane_of_its_own(self, timeout_s: float) -> Lane:
        """Another connection to the server, for what waits in Redis; who has it closes it."""
        pool = self.connection_pool
        # The lane has the time limit.
        options = pool.connection_kwargs | {"socket_timeout": None}
        return Lane(lambda: pool.connection_class(**options), timeout_s)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if str(args[0]).partition(" ")[0].upper() in _OF_ONE_CONNECTION:
            return await super().execute_command(*args, **options)
        with timed(args[0]):
            (answer,) = await self.lane.ask((args,), tries=self.tries)
            return await self.parse_response(_read(answer), args[0], **options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        if transaction:
            return super().pipeline(transaction, shard_hint)
        return LanedPipeline(self)

    async def disconnect(self) -> None:
        """Who waits is told; the next command makes a new connection."""
        await self.lane.drop()
        await self.connection_pool.disconnect()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await self.lane.close()
        await super().aclose(close_connection_pool)
        # It was given to this client.
        await self.connection_pool.disconnect()


class LanedPipeline(TimedPipeline):
    """Commands that go out together, and are no transaction."""

    def __init__(self, redis: LanedRedis) -> None:
        super().__init__(redis.connection_pool, redis.response_callbacks, False, None)
        self._laned = redis

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        if self.explicit_transaction or self.watching or self.scripts:
            return await super().execute(raise_on_error)
        stack = self.command_stack
        if not stack:
            return []
        try:
            with timed("pipeline"):
                commands = [args for args, _ in stack]
                answers = await self._laned.lane.ask(commands, tries=self._laned.tries)
            found: list[Any] = []
            for (args, options), answer in zip(stack, answers, strict=True):
                try:
                    found.append(await self.parse_response(_read(answer), args[0], **options))
                except ResponseError as error:
                    found.append(error)
            if raise_on_error:
                self.raise_first_error(stack, found)
            return found
        finally:
            await self.reset()  # type: ignore[no-untyped-call]


class _Read:
    """A connection, as far as ``parse_response`` wants one: with the answer that has come."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def read_response(self, **_options: Any) -> Any:
        if isinstance(self._answer, ResponseError):
            raise self._answer
        return self._answer


_read: Any = _Read
