"""Which connected users see which messages of which groups, so that a push names a group and no users.

A gateway learns the groups of a user when the first connection of the user comes, after its route is
known to all and before its `hello`; and from then on each change of them by a push, in order, as it is
where the user is. What is remembered of a user in a group is what `sync` goes by: the window of
messages that are for the user. So a message that is repeated, or comes late, is judged as it was when
it was stored; and each says up to which change of the group one must know to judge it. A gateway that
does not know that far says so, and is told.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import structlog

from im.chat.v1.chat_pb2 import ListGroupStandingsRequest, UserGroup
from im.gateway.v1.push_pb2 import BehindGroup, Delivery, GroupRoster, GroupStanding, HeldGroup
from im_common.domain.group_gateways import GroupGateways
from im_common.domain.ids import now_ms
from im_common.errors import AppError
from im_common.runtime.chunks import chunks
from im_common.runtime.faults import report
from ws_gateway.logic.connection import Connection, Connections, Live, Run

if TYPE_CHECKING:
    from im.chat.v1.chat_pb2_grpc import ChatServiceAsyncStub

log = structlog.get_logger(__name__)

# Newcomers that one call asks for.
BATCH = 500
RETRY_S = 0.5


class Standing(NamedTuple):
    """A user sees messages with min_seq < seq <= left_seq; a member has not left."""

    min_seq: int
    left_seq: int | None
    # The change up to which this is right; later ones come by pushes.
    known_at: int

    def shows(self, seq: int) -> bool:
        """With seq 0: whether it is a member."""
        if self.left_seq is None:
            return not seq or self.min_seq < seq
        return self.min_seq < seq <= self.left_seq


class Group:
    """A group that has, or had, a member here."""

    __slots__ = ("last_seq", "roster_seq", "standings", "version")

    def __init__(self, roster_seq: int) -> None:
        # All changes up to here were taken in.
        self.roster_seq = roster_seq
        # The newest message that was pushed; 0 before the first.
        self.last_seq = 0
        self.standings: dict[int, Standing] = {}
        # Another one when others are here.
        self.version = 0


class Rosters:
    """Of all groups of those who are connected here."""

    def __init__(
        self, connections: Connections, chat: ChatServiceAsyncStub, gateways: GroupGateways
    ) -> None:
        self._connections = connections
        self._chat = chat
        self._gateways = gateways
        # host:port of this instance's PushService.
        self.address = ""
        self._groups: dict[str, Group] = {}
        self._of_user: defaultdict[int, set[str]] = defaultdict(set)
        # Larger than those of a process before this one.
        self._versions = itertools.count(now_ms() << 20)
        self._nobody = next(self._versions)
        # By conversation, when (time.monotonic() seconds) others could first know of it; and those of
        # which they cannot yet.
        self._known_since: dict[str, float] = {}
        self._unregistered: set[str] = set()
        # Opened though chat-service was away: nobody knows their groups.
        self._late: set[Connection] = set()
        self._is_late = asyncio.Event()

    # --- who comes and goes ----------------------------------------------------------------------

    async def learn(self, connections: Iterable[Connection]) -> None:
        """Learns the groups of their users, whose routes are known to all by now. When chat-service is
        away they open all the same, and end when there was something to miss. Raises when Redis is
        away."""
        new = [
            connection
            for connection in connections
            if not any(map(self._knows, self._connections.of(connection.user_id)))
        ]
        await self._ask_for(new)

    def _knows(self, connection: Connection) -> bool:
        """Whether the groups of its user have been followed without a gap since it was opened."""
        is_open = connection.opened_at is not None and connection.ending is None
        return is_open and connection not in self._late

    def forget(self, connection: Connection) -> None:
        """It has gone."""
        self._late.discard(connection)
        user_id = connection.user_id
        if self._connections.of(user_id):
            return
        for conversation_id in self._of_user.pop(user_id, ()):
            group = self._groups[conversation_id]
            del group.standings[user_id]
            group.version = next(self._versions)
            if not group.standings:
                del self._groups[conversation_id]
                self._known_since.pop(conversation_id, None)
                self._unregistered.discard(conversation_id)

    async def run(self) -> None:
        """Asks for ever again for those of whom it could not learn."""
        while True:
            await self._is_late.wait()
            await asyncio.sleep(RETRY_S)
            self._is_late.clear()
            try:
                await self._ask_for(list(self._late))
            except Exception as error:  # whatever Redis says
                report(error, "groups of newcomers are not known to others")
                self._is_late.set()

    async def _ask_for(self, connections: Sequence[Connection]) -> None:
        for some in chunks(connections, BATCH):
            await self._ask(some)

    async def _ask(self, some: Collection[Connection]) -> None:
        user_ids = sorted({connection.user_id for connection in some})
        try:
            answer = await self._chat.ListGroupStandings(
                ListGroupStandingsRequest(user_ids=user_ids)
            )
        except AppError as error:
            log.warning("groups of newcomers are not known", error=error.message)
            self._late.update(filter(self._is_here, some))
            self._is_late.set()
            return
        groups = {user.user_id: user.groups for user in answer.users}
        for connection in some:
            # Another one of the user asks for itself: its route may have come later.
            if self._is_here(connection):
                self._take(connection.user_id, groups.get(connection.user_id, ()))
        await self.register()
        for connection in self._late.intersection(some):
            self._late.discard(connection)
            if groups.get(connection.user_id):
                connection.missed()

    def _is_here(self, connection: Connection) -> bool:
        return connection in self._connections.of(connection.user_id)

    def _take(self, user_id: int, groups: Iterable[UserGroup]) -> None:
        for one in groups:
            group = self._group(one.conversation_id, one.roster_seq)
            known = group.standings.get(user_id)
            # A change may have been quicker than this answer.
            if known is None or known.known_at <= one.roster_seq:
                self._put(one.conversation_id, user_id, Standing(one.min_seq, None, one.roster_seq))

    def _group(self, conversation_id: str, roster_seq: int) -> Group:
        group = self._groups.get(conversation_id)
        if group is None:
            group = self._groups[conversation_id] = Group(roster_seq)
            self._unregistered.add(conversation_id)
        return group

    def _put(self, conversation_id: str, user_id: int, standing: Standing) -> None:
        group = self._groups[conversation_id]
        if user_id not in group.standings:
            group.version = next(self._versions)
            self._of_user[user_id].add(conversation_id)
        group.standings[user_id] = standing

    # --- known to others -------------------------------------------------------------------------

    async def register(self) -> None:
        """Has those who push find this gateway for the groups that it did not hold before. Raises when
        Redis is away."""
        if self._unregistered:
            began, new = time.monotonic(), set(self._unregistered)
            await self._gateways.put(self.address, new)
            self._unregistered -= new
            for conversation_id in new.intersection(self._groups):
                self._known_since.setdefault(conversation_id, began)

    async def renew(self) -> None:
        """The same of all groups, as routes are renewed."""
        await self._gateways.put(self.address, list(self._groups))

    def lapse(self) -> None:
        """Nobody finds this gateway for its groups any more, until it has said so again."""
        self._unregistered.update(self._groups)
        self._known_since.clear()

    async def end_those_forgotten(self, since: float) -> None:
        """Redis may have lost what it was told since then (time.monotonic() seconds): nobody has found
        this gateway for these groups meanwhile. Raises when Redis is away."""
        young = [one for one, at in self._known_since.items() if at > since]
        kept = await self._gateways.find(young)
        self.end_members(one for one in young if self.address not in kept.get(one, ()))

    def end_members(self, conversation_ids: Iterable[str]) -> None:
        """Those of these groups were not sent something that they were owed."""
        for conversation_id in conversation_ids:
            for user_id in self.members(conversation_id):
                self._end(user_id)

    def members(self, conversation_id: str) -> Collection[int]:
        """Who is here, or was, of a group."""
        group = self._groups.get(conversation_id)
        return group.standings if group is not None else ()

    # --- pushes ----------------------------------------------------------------------------------

    def behind(self, deliveries: Iterable[Delivery]) -> list[BehindGroup]:
        """The groups of which a delivery cannot be judged here."""
        known: dict[str, int] = {}
        behind: dict[str, BehindGroup] = {}
        for delivery in deliveries:
            on = delivery.conversation_id
            if not delivery.HasField("group") or (group := self._groups.get(on)) is None:
                continue
            known.setdefault(on, group.roster_seq)
            if known[on] < delivery.group.roster_seq and on not in behind:
                behind[on] = BehindGroup(conversation_id=on, user_ids=list(group.standings))
            if delivery.group.is_change:
                known[on] = max(known[on], delivery.seq)
        return list(behind.values())

    def catch_up(self, rosters: Iterable[GroupRoster]) -> None:
        """Takes in what it was behind in."""
        for roster in rosters:
            group = self._groups.get(roster.conversation_id)
            if group is None or not roster.roster_seq:
                continue
            for one in roster.standings:
                known = group.standings.get(one.user_id)
                if known is not None and known.known_at <= roster.roster_seq:
                    group.standings[one.user_id] = _standing(one, roster.roster_seq)
            group.roster_seq = max(group.roster_seq, roster.roster_seq)

    def deliver(self, delivery: Delivery) -> None:
        """Takes in the change of members that it tells of, and gives the frame to who sees it."""
        target, on, seq = delivery.group, delivery.conversation_id, delivery.seq
        if seq and not delivery.ephemeral:
            self._follow(on, [seq])
        if target.is_change:
            self._change(on, seq, target.moved)
        group = self._groups.get(on)
        if group is None:
            return
        frame, of, left_out = delivery.frame, self._connections.of, target.except_user_id
        for user_id, standing in group.standings.items():
            if user_id != left_out and standing.shows(seq):
                for connection in of(user_id):
                    if delivery.ephemeral:
                        connection.offer(frame)
                    else:
                        connection.deliver(frame, on, seq)

    def deliver_all(self, deliveries: Sequence[Delivery]) -> None:
        """As ``deliver`` of each, of messages of one group that rise and change no members: what is the
        same for all who get them is done once."""
        on = deliveries[0].conversation_id
        group = self._groups.get(on)
        if group is None:
            return
        run = Run([Live(d.frame, on, d.seq) for d in deliveries])
        self._follow(on, run.seqs)
        authors = {delivery.group.except_user_id for delivery in deliveries}
        first = deliveries[0].seq
        for user_id, standing in group.standings.items():
            if user_id in authors or standing.left_seq is not None or standing.min_seq >= first:
                self._deliver_each(user_id, standing, deliveries)
            else:
                for connection in self._connections.of(user_id):
                    connection.deliver_run(run)

    def _follow(self, conversation_id: str, seqs: Sequence[int]) -> None:
        """These are about to be delivered, in ascending order. All that is written to a group is pushed
        to a gateway that holds a member: whatever the reason is that something was not, its members
        come back and sync."""
        group = self._groups.get(conversation_id)
        if group is None:
            return
        last, newest = group.last_seq, seqs[-1]
        if newest <= last:
            return
        group.last_seq = newest
        is_first_after = not last or seqs[0] <= last + 1
        if is_first_after and newest - seqs[0] + 1 == len(seqs):
            return
        log.warning("not all of a group was pushed", on=conversation_id, last=last, now=list(seqs))
        for user_id, standing in group.standings.items():
            if standing.shows(newest):
                self._end(user_id)

    def _deliver_each(
        self, user_id: int, standing: Standing, deliveries: Sequence[Delivery]
    ) -> None:
        for one in deliveries:
            if user_id != one.group.except_user_id and standing.shows(one.seq):
                for connection in self._connections.of(user_id):
                    connection.deliver(one.frame, one.conversation_id, one.seq)

    def _change(self, conversation_id: str, seq: int, moved: Sequence[GroupStanding]) -> None:
        for one in moved:
            if not self._connections.of(one.user_id):
                continue
            group = self._group(conversation_id, seq)
            known, new = group.standings.get(one.user_id), _standing(one, seq)
            if known is None or known.known_at <= seq:
                if not _is_member(known) and new.left_seq is None and new.min_seq < seq - 1:
                    # It saw messages before it was here as a member.
                    self._end(one.user_id)
                self._put(conversation_id, one.user_id, new)
        if (of_all := self._groups.get(conversation_id)) is not None:
            of_all.roster_seq = max(of_all.roster_seq, seq)

    def _end(self, user_id: int) -> None:
        for connection in self._connections.of(user_id):
            connection.missed()

    def held(self, rosters: Iterable[GroupRoster]) -> list[HeldGroup]:
        """Who is here of the small groups, as far as that is not known already."""
        held: list[HeldGroup] = []
        for roster in rosters:
            if roster.is_small:
                group = self._groups.get(roster.conversation_id)
                version = group.version if group is not None else self._nobody
                is_news = group is not None and version != roster.held_version
                held.append(
                    HeldGroup(
                        conversation_id=roster.conversation_id,
                        version=version,
                        user_ids=group.standings if group is not None and is_news else (),
                    )
                )
        return held


def _standing(one: GroupStanding, known_at: int) -> Standing:
    return Standing(one.min_seq, one.left_seq if one.HasField("left_seq") else None, known_at)


def _is_member(standing: Standing | None) -> bool:
    return standing is not None and standing.left_seq is None
