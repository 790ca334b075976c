"""Lua scripts on one server, behind Sentinels and on a cluster.

On a cluster a call has the keys of one slot. What is done for many keys is one command where there is
one server, and one for each slot, all in one round trip, on a cluster.

Replication is asynchronous: a failover loses what no replica had yet. What must not be lost is called
``safely``, which returns when a replica has it too.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, PipelineCommand
from redis.exceptions import (
    AskError,
    ClusterError,
    MovedError,
    NoScriptError,
    SlotNotCoveredError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from im_common.runtime.redis_client import ClusterRedis, SentinelRedis
from im_common.runtime.timed_redis import timed

ItemT = TypeVar("ItemT")
Keys = Sequence[str]
Arguments = Sequence[str | bytes | int | float]
# What a script is called with.
Call = tuple[Keys, Arguments]

# For so long a replica is waited for.
_COPY_MS = 1_000
# A slot on its way lets nothing through that has some of its keys here and some there.
_TRY_AGAIN_S = 0.05
_MOST_ROUNDS = 20
_BROKEN = (RedisConnectionError, RedisTimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a call is sent; ``asks`` when the slot is on its way there."""

    node: ClusterNode
    asks: bool = False


class Script:
    """A script, known to a server after its first call there."""

    def __init__(self, redis: Redis, text: str) -> None:
        self._redis = redis
        # Asked once: the classes of redis-py are protocols, and take their time to say what one is.
        self._cluster = redis if isinstance(redis, ClusterRedis) else None
        self._by_sentinels = redis if isinstance(redis, SentinelRedis) else None
        self._text = text
        self._sha = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Keys, args: Arguments = (), *, safely: bool = False) -> Any:
        """Its answer. Raises what redis-py raises, as all of these."""
        (answer,) = await self.each([(keys, args)], safely=safely)
        return answer

    async def each(self, calls: Sequence[Call], *, safely: bool = False) -> list[Any]:
        """The answers of several calls, by one round trip. Others may have been done when one fails."""
        if not calls:
            return []
        if self._cluster is not None:
            with timed("pipeline"):
                return await _OnCluster(self._cluster, self._text, self._sha, safely).each(calls)
        answers = await self._send(calls, safely=safely)
        # Another client may load it between two of them: only those that were not done are done again.
        if missing := [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]:
            await self._redis.script_load(self._text)
            again = await self._send([calls[number] for number in missing], safely=safely)
            for number, answer in zip(missing, again, strict=True):
                answers[number] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def over(
        self,
        items: Sequence[ItemT],
        call: Callable[[Sequence[ItemT]], Call],
        *,
        safely: bool = False,
    ) -> list[Any]:
        """For a script that takes many items and answers with a list of one each: the answers in the
        order of ``items``. ``call`` is what some of them are called with; the keys of one item are in
        one slot."""
        if not items:
            return []
        if self._cluster is None:
            answer = await self(*call(items), safely=safely)
            return list(answer or [None] * len(items))
        by_slot: dict[int, list[int]] = defaultdict(list)
        for number, item in enumerate(items):
            by_slot[self._cluster.keyslot(call([item])[0][0])].append(number)
        together = list(by_slot.values())
        calls = [call([items[number] for number in numbers]) for numbers in together]
        found: list[Any] = [None] * len(items)
        for numbers, answer in zip(together, await self.each(calls, safely=safely), strict=True):
            for number, one in zip(numbers, answer or [None] * len(numbers), strict=True):
                found[number] = one
        return found

    async def _send(self, calls: Sequence[Call], *, safely: bool) -> list[Any]:
        """The answer of each, or its error."""
        by_sentinels = self._by_sentinels if safely else None
        if len(calls) == 1 and by_sentinels is None:
            keys, args = calls[0]
            try:
                return [await self._redis.evalsha(self._sha, len(keys), *keys, *args)]
            except NoScriptError as error:
                return [error]
        pipeline = self._redis.pipeline(transaction=False)
        for keys, args in calls:
            pipeline.evalsha(self._sha, len(keys), *keys, *args)
        if by_sentinels is None:
            return list(await pipeline.execute(raise_on_error=False))
        waits = not by_sentinels.is_alone
        found, copies, role, run = await _with_copy(pipeline, waits=waits)
        if not copies and _is_alone(role):
            if not await by_sentinels.agrees_on(run):
                raise _no_copy()
        elif not copies:
            if not waits:
                # By now it has one again.
                later = self._redis.pipeline(transaction=False).set("copied", 1, px=_COPY_MS)
                _, copies, _, same = await _with_copy(later, waits=True)
                copies = copies if same == run else 0
            if not copies:
                raise _no_copy()
        by_sentinels.is_alone = not copies
        return found


async def _with_copy(pipeline: Any, *, waits: bool) -> tuple[list[Any], int, Any, str]:
    """The answers; how many replicas have it, if that is waited for; what ROLE says, and which run of
    the server it is."""
    if waits:
        pipeline.execute_command("WAIT", 1, _COPY_MS)
    pipeline.execute_command("ROLE")
    pipeline.info("server")
    *found, role, server = await pipeline.execute(raise_on_error=False)
    copies = found.pop() if waits else 0
    for answer in (copies, role, server):
        if isinstance(answer, Exception):
            raise answer
    return found, copies, role, server["run_id"]


def _is_alone(role: Sequence[Any]) -> bool:
    """Whether it is a master without any replica, by what it answers to ROLE."""
    return role[0] == b"master" and not role[2]


def _no_copy() -> RedisConnectionError:
    return RedisConnectionError("no replica has it yet")


class _OnCluster:
    """Calls of one script; follows redirections, and leaves nothing on its way when it returns."""

    def __init__(self, cluster: ClusterRedis, text: str, sha: str, safely: bool) -> None:
        self._cluster = cluster
        self._text = text
        self._sha = sha
        self._safely = safely

    async def each(self, calls: Sequence[Call]) -> list[Any]:
        found: list[Any] = [None] * len(calls)
        waiting: dict[int, _Place | None] = dict.fromkeys(range(len(calls)))
        # One more try: a pooled connection may have died while it was idle.
        may_break = True
        for _ in range(_MOST_ROUNDS):
            answers = await self._round(calls, waiting)
            errors = {n: one for n, one in answers.items() if isinstance(one, Exception)}
            for number in answers.keys() - errors.keys():
                found[number] = answers[number]
                del waiting[number]
            if not errors:
                return found
            broken = next((one for one in errors.values() if isinstance(one, _BROKEN)), None)
            if broken is not None:
                self._cluster.forget_slots()
                if not may_break:
                    raise broken
                may_break = False
            for number, error in errors.items():
                waiting[number] = await self._redirected(error)
            if any(isinstance(error, TryAgainError) for error in errors.values()):
                await asyncio.sleep(_TRY_AGAIN_S)
        raise ClusterError("the slots are moving")

    async def _round(
        self, calls: Sequence[Call], waiting: dict[int, _Place | None]
    ) -> dict[int, Any]:
        """The answer to each that waits, or its error."""
        await self._cluster.initialize()
        together: dict[_Place, list[int]] = defaultdict(list)
        for number, place in waiting.items():
            together[place or self._place_of(calls[number][0][0])].append(number)
        rounds = await asyncio.gather(
            *(self._at(place, [calls[n] for n in ns]) for place, ns in together.items())
        )
        return {
            number: answer
            for numbers, answers in zip(together.values(), rounds, strict=True)
            for number, answer in zip(numbers, answers, strict=True)
        }

    def _place_of(self, key: str) -> _Place:
        try:
            node = self._cluster.get_node_from_key(key)
        except SlotNotCoveredError as error:
            self._cluster.forget_slots()
            raise ClusterError(str(error)) from error
        assert node is not None
        return _Place(node)

    async def _at(self, place: _Place, calls: Sequence[Call]) -> list[Any]:
        sent = [
            PipelineCommand(0, "EVALSHA", self._sha, len(keys), *keys, *args)
            for keys, args in calls
        ]
        commands = sent
        if place.asks:
            commands = [one for command in sent for one in (PipelineCommand(0, "ASKING"), command)]
        try:
            copies = await self._send(place.node, commands)
            if any(isinstance(command.result, NoScriptError) for command in sent):
                await place.node.execute_command("SCRIPT LOAD", self._text)
            elif copies == 0:
                await self._insist(place, calls[0][0][0])
        except _BROKEN as error:
            return [error] * len(sent)
        return [command.result for command in sent]

    async def _send(self, node: ClusterNode, commands: Sequence[PipelineCommand]) -> int | None:
        """By one round trip. How many replicas have it, when that is asked for and matters: 0 also
        when that was not waited for, as the node had none a moment ago. Raises when there is no
        connection."""
        if not self._safely:
            await node.execute_pipeline(list(commands))
            return None
        alone = self._cluster.alone
        wait, role = PipelineCommand(0, "WAIT", 1, _COPY_MS), PipelineCommand(0, "ROLE")
        waits = node.name not in alone
        await node.execute_pipeline([*commands, *([wait] if waits else ()), role])
        copies: Any = wait.result
        said: Any = role.result
        for answer in (copies, said):
            if isinstance(answer, Exception):
                raise answer
        if copies:
            return int(copies)
        if said is None or not _is_alone(said):
            alone.discard(node.name)
            return 0
        if not await self._cluster.agrees_on(node):
            raise _no_copy()
        alone.add(node.name)
        return None

    async def _insist(self, place: _Place, key: str) -> None:
        """Once more, with a write of no use, for a node that has a replica again. Raises when that has
        it not."""
        write = PipelineCommand(0, "SET", f"{{{key}}}:copied", 1, "PX", _COPY_MS)
        asking = [PipelineCommand(0, "ASKING")] if place.asks else []
        copies = await self._send(place.node, [*asking, write])
        if copies == 0 or isinstance(write.result, Exception):
            raise _no_copy()

    async def _redirected(self, error: Exception) -> _Place | None:
        """Where to send it now; None for where its slot is."""
        if isinstance(error, MovedError):
            await self._cluster.nodes_manager.move_slot(error)
        elif isinstance(error, AskError):
            node = self._cluster.get_node(host=error.host, port=error.port)
            if node is not None:
                return _Place(node, asks=True)
            self._cluster.forget_slots()
        elif not isinstance(error, (NoScriptError, TryAgainError, *_BROKEN)):
            raise error
        return None
