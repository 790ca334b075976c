"""What delivery knows of the groups of a batch: which gateways hold a member, up to which change of
members each message counts, and, of small groups, who the members are and who of them is where.

Nothing here grows with the members of a big group. What is remembered is checked by the place of the
last change, which comes with each message from the transaction that stored it; so it may be forgotten
at any time, and another consumer may have had the partition meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cachetools import LRUCache
from sqlalchemy import Connection

from chat_service.model import windows
from chat_service.model.windows import Window
from chat_service.mq import rosters
from chat_service.mq.entry import Entry
from im.gateway.v1.push_pb2 import (
    BehindGroup,
    GroupRoster,
    GroupStanding,
    HeldGroup,
    PushRequest,
    PushResponse,
)
from im_common.domain.group_gateways import GroupGateways
from im_common.domain.routes import Route
from im_common.sql.db import Database

# Members of whom something is remembered, in all groups; and groups whose last change is.
MOST_REMEMBERED = 100_000
MOST_GROUPS = 20_000

Routes = Mapping[int, Sequence[Route]]
Moved = Sequence[tuple[int, Window]]


class Roster(NamedTuple):
    """The members of a group after a change."""

    roster_seq: int
    # None when they are too many for copies.
    user_ids: frozenset[int] | None


class Held(NamedTuple):
    """Who of a group is at a gateway, by the gateway's own count of changes."""

    version: int
    user_ids: frozenset[int]


class _Last(NamedTuple):
    """The last message of a group that was delivered, and the change that counts after it."""

    seq: int
    roster_seq: int


@dataclass(slots=True)
class Target:
    """Whom of its group an entry goes to."""

    # The last change of members before it, or the place before its own when that is not known.
    roster_seq: int
    # The same after it.
    after: int
    # None for a group that gets no copies.
    user_ids: frozenset[int] | None = None
    # Of them, who was a member then, has gone since, and has come back: no gateway shows them what was
    # before, and it is for them all the same.
    returned: frozenset[int] = frozenset()
    # Where those stand who come or go with it.
    moved: Moved = ()


@dataclass(slots=True)
class GroupBatch:
    """The groups of one batch."""

    targets: dict[int, Target] = field(default_factory=dict)
    # By conversation; more are added as members come.
    gateways: dict[str, dict[str, None]] = field(default_factory=dict)

    def of(self, item: Entry) -> Target:
        return self.targets[id(item)]

    def add_gateways(self, conversation_id: str, gateways: Iterable[str]) -> None:
        self.gateways.setdefault(conversation_id, {}).update(dict.fromkeys(gateways))


class Groups:
    def __init__(self, db: Database, gateways: GroupGateways, *, most_members: int) -> None:
        """``most_members``: those of a bigger group get no copies in their offline lists."""
        self._db = db
        self._gateways = gateways
        self._most = most_members
        self._rosters: LRUCache[str, Roster] = LRUCache(
            MOST_REMEMBERED, getsizeof=lambda roster: 1 + len(roster.user_ids or ())
        )
        # By gateway and conversation.
        self._held: LRUCache[tuple[str, str], Held] = LRUCache(
            MOST_REMEMBERED, getsizeof=lambda held: 1 + len(held.user_ids)
        )
        self._last: LRUCache[str, _Last] = LRUCache(MOST_GROUPS)

    async def look_up(self, items: Sequence[Entry]) -> GroupBatch:
        """Those of the entries that are about groups. Raises when Redis or the database is away."""
        items = [item for item in items if item.group_id is not None]
        batch = GroupBatch()
        if not items:
            return batch
        ids = {item.conversation_id for item in items}
        for item in items:
            batch.targets[id(item)] = self._target(item)
        found, _ = await asyncio.gather(self._gateways.find(ids), self._fill(items, batch))
        for conversation_id in ids:
            batch.add_gateways(conversation_id, found.get(conversation_id, ()))
        return batch

    def _target(self, item: Entry) -> Target:
        if not item.seq:
            # A recall goes to who is a member now.
            return Target(0, 0)
        last = self._last.get(item.conversation_id)
        before = last.roster_seq if last is not None and last.seq == item.seq - 1 else None
        if item.moved_user_ids:
            target = Target(item.seq - 1 if before is None else before, item.seq)
        else:
            known = item.roster_seq if item.roster_seq is not None else before
            known = item.seq - 1 if known is None else known
            target = Target(known, known)
        self._last[item.conversation_id] = _Last(item.seq, target.after)
        return target

    async def _fill(self, items: Sequence[Entry], batch: GroupBatch) -> None:
        doubtful: list[Entry] = []
        for item in items:
            target, known = batch.of(item), self._rosters.get(item.conversation_id)
            is_known = known is not None and known.roster_seq == target.after
            if known is not None and is_known and item.seq and not item.moved_user_ids:
                target.user_ids = known.user_ids
            else:
                doubtful.append(item)
        if doubtful:
            await self._db.read(self._read, doubtful, batch)

    def _read(self, connection: Connection, items: Sequence[Entry], batch: GroupBatch) -> None:
        ids = {item.conversation_id for item in items}
        roster_seqs = windows.roster_seqs(connection, ids)
        for conversation_id in ids:
            last = roster_seqs.get(conversation_id, 0)
            known = self._rosters.get(conversation_id)
            if known is None or known.roster_seq != last:
                members = windows.members(connection, conversation_id, most=self._most)
                self._rosters[conversation_id] = Roster(last, members)
        moved = _moved(connection, items)
        # By conversation, what its history says of changes after the first of the items.
        told: dict[str, list[tuple[int, str]]] = {}
        for item in items:
            target, conversation_id = batch.of(item), item.conversation_id
            roster = self._rosters.get(conversation_id) or Roster(0, None)
            target.user_ids = roster.user_ids
            if not item.seq:
                target.roster_seq = target.after = roster.roster_seq
            elif roster.user_ids is not None and roster.roster_seq > item.seq:
                # Others came and went since.
                here, came = windows.members_at(connection, conversation_id, item.seq)
                if came:
                    if conversation_id not in told:
                        told[conversation_id] = windows.changes(
                            connection, conversation_id, item.seq, roster.roster_seq
                        )
                    later = [ext for seq, ext in told[conversation_id] if seq > item.seq]
                    target.returned = came & rosters.who_left_first(later)
                target.user_ids = here | target.returned
            if item.moved_user_ids:
                found = moved[conversation_id]
                target.moved = [(u, found[u]) for u in item.moved_user_ids if u in found]

    # --- who is where ----------------------------------------------------------------------------

    def add_moved(self, item: Entry, batch: GroupBatch, routes: Routes) -> None:
        """From this entry on its group is held where those are who become members with it."""
        for user_id, _ in batch.of(item).moved:
            gateways = [route.gateway for route in routes.get(user_id, ())]
            batch.add_gateways(item.conversation_id, gateways)

    def held_at(self, gateway: str, conversation_id: str) -> Collection[int]:
        """Who of a group was there the last time."""
        held = self._held.get((gateway, conversation_id))
        return held.user_ids if held is not None else ()

    def roster(self, gateway: str, conversation_id: str, *, is_small: bool) -> GroupRoster:
        """What a request says of a group."""
        held = self._held.get((gateway, conversation_id)) if is_small else None
        return GroupRoster(
            conversation_id=conversation_id,
            is_small=is_small,
            held_version=held.version if held is not None else 0,
        )

    def note(self, gateway: str, answer: PushResponse) -> None:
        """What a gateway says of who is there."""
        for held in answer.held:
            key = gateway, held.conversation_id
            known = self._held.get(key)
            if known is None or known.version != held.version:
                self._remember(key, held)

    def _remember(self, key: tuple[str, str], held: HeldGroup) -> None:
        new = Held(held.version, frozenset(held.user_ids))
        if len(new.user_ids) < MOST_REMEMBERED:
            self._held[key] = new

    # --- gateways that are behind ----------------------------------------------------------------

    async def catch_up(self, request: PushRequest, behind: Iterable[BehindGroup]) -> None:
        """Puts into the request what a gateway has missed."""
        rosters = {roster.conversation_id: roster for roster in request.rosters}
        for one in behind:
            conversation_id = one.conversation_id
            known, found = await self._db.read(_standings, conversation_id, one.user_ids)
            # All that the request is about was stored before.
            asked = (
                delivery.group.roster_seq
                for delivery in request.deliveries
                if delivery.conversation_id == conversation_id
            )
            roster = rosters[conversation_id]
            roster.roster_seq = max(known, *asked)
            del roster.standings[:]
            roster.standings.extend(standing(*window) for window in found.items())


def _moved(connection: Connection, items: Iterable[Entry]) -> dict[str, dict[int, Window]]:
    """Where those stand who come or go with the entries, by conversation."""
    moved: dict[str, set[int]] = defaultdict(set)
    for item in items:
        if item.moved_user_ids:
            moved[item.conversation_id].update(item.moved_user_ids)
    return {on: windows.of_users(connection, on, user_ids) for on, user_ids in moved.items()}


def standing(user_id: int, window: Window) -> GroupStanding:
    return GroupStanding(user_id=user_id, min_seq=window.min_seq, left_seq=window.left_seq)


def _standings(
    connection: Connection, conversation_id: str, user_ids: Collection[int]
) -> tuple[int, dict[int, Window]]:
    known = windows.roster_seqs(connection, [conversation_id]).get(conversation_id, 0)
    return known, windows.of_users(connection, conversation_id, user_ids)
