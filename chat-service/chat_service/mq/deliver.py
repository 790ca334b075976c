"""Hands the outcome of a batch on: answers to senders, frames to gateways, the rest to offline lists.

Every step can be repeated: gateways drop a frame that a connection has had already, and an answer
whose sender has been answered finds nobody waiting.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial

from chat_service.gateways import Gateways
from chat_service.mq.entry import Entry
from chat_service.mq.groups import GroupBatch, Groups, Routes
from chat_service.mq.last_routes import LastRoutes, together
from chat_service.mq.listed import ListedUsers
from chat_service.mq.requests import Requests, only_answers
from im.gateway.v1.push_pb2 import PushRequest, PushResponse
from im_common.bus import Committed
from im_common.domain.ids import now_ms
from im_common.domain.missed import Missed, MissedLog
from im_common.domain.offline import OfflineList
from im_common.domain.recalls import RecallLog
from im_common.domain.routes import Route, RouteTable
from im_common.runtime import metrics

# So many gateways that were given up are remembered.
MOST_GATEWAYS = 100
# Where so few wait for each other, each feels what it waits for.
_FEW = 8

Answers = Mapping[str, PushResponse | None]
# By gateway, the users who were not there; None for one that is gone.
Absent = Mapping[str, set[int] | None]


class Deliverer:
    def __init__(
        self,
        routes: RouteTable,
        offline: OfflineList,
        recalls: RecallLog,
        missed: MissedLog,
        gateways: Gateways,
        groups: Groups,
    ) -> None:
        self._routes = routes
        self._offline = offline
        self._recalls = recalls
        self._missed = missed
        self._gateways = gateways
        self._groups = groups
        self._listed = ListedUsers()
        self._last = LastRoutes()
        # By gateway: who was not sent something there and has not been told yet, each with the number
        # of the last time.
        self._untold: dict[str, dict[Missed, int]] = defaultdict(dict)
        self._times = 0

    async def deliver(self, items: Sequence[Entry]) -> Committed | None:
        """Gives the refusals among the answers, to be told when no record of these comes again: by
        what holds then it might be done. Raises only when Redis or the database is away: then the
        whole is to be repeated."""
        done = [item for item in items if item.error is None]
        placed = [item for item in done if item.to_deliver]
        groups = await self._groups.look_up(placed)
        # Before the look at the routes: who comes online after it finds them.
        await self._remember([item for item in placed if item.is_kept_for_devices], groups)
        self._gateways.seen_alive((item.origin.address, item.timestamp) for item in items)
        sought = list(self._sought(placed, groups))
        routes = await self._look(done, placed, groups, sought)
        if routes is not None:
            whereabouts = _Whereabouts(self._groups, groups, sought, routes)
            await self._hand_out(done, placed, groups, whereabouts)
        now = now_ms()
        for item in placed:
            metrics.DELIVERED.observe((now - item.timestamp) / 1000)
        if len(done) == len(items):
            return None
        return partial(self._refuse, [item for item in items if item.error is not None])

    async def _refuse(self, items: Sequence[Entry]) -> None:
        await self._gateways.push(only_answers(items))

    async def _look(
        self,
        items: Sequence[Entry],
        placed: Sequence[Entry],
        groups: GroupBatch,
        sought: Sequence[int],
    ) -> Routes | None:
        """The routes by which these are to be handed out. A few messages are pushed while they are
        looked up, to where the users were the last time; None when all is done with that."""
        guess = self._last.of(sought) if self._may_guess(items, sought) else None
        requests = self._requests(items, placed, groups, guess) if guess else {}
        if guess is None or len(requests) != 1:
            routes = await self._routes.find(sought)
            if len(items) <= _FEW:
                self._last.note(sought, routes)
            return routes
        ((gateway, request),) = requests.items()
        request.only_if_here = True
        answers, routes = await asyncio.gather(
            self._gateways.push(requests), self._routes.find(sought)
        )
        self._last.note(sought, routes)
        answer = answers[gateway]
        if answer is None or answer.absent_user_ids:
            return routes
        return together(guess, routes)

    def _may_guess(self, items: Sequence[Entry], sought: Iterable[int]) -> bool:
        """Nobody is to be told more than these messages."""
        return (
            len(items) <= _FEW
            and not self._untold
            and all(item.pair is not None for item in items)
            and not any(user_id in self._listed for user_id in sought)
        )

    async def _hand_out(
        self,
        items: Sequence[Entry],
        placed: Sequence[Entry],
        groups: GroupBatch,
        whereabouts: _Whereabouts,
    ) -> None:
        # Before anybody is told `sent`: by then a message for who is away is in their list.
        await self._keep(whereabouts.away(placed))
        requests = self._requests(items, placed, groups, whereabouts.routes)
        listed = whereabouts.here(requests, self._listed) if self._listed else {}
        listed_times = self._listed.send_first(requests, listed)
        for gateway, request in requests.items():
            for missed in self._untold.get(gateway, ()):
                if isinstance(missed, int):
                    request.missed_user_ids.append(missed)
                else:
                    request.missed_conversation_ids.append(missed)
        times = self._times
        answers = await self._push(requests)
        have_looked = [
            user_id
            for user_id, gateways in listed.items()
            if all(answers.get(gateway) is not None for gateway in gateways)
        ]
        self._listed.told(have_looked, listed_times)
        await self._note_missed(requests, answers, times)
        absent = {g: None if a is None else set(a.absent_user_ids) for g, a in answers.items()}
        await self._keep(whereabouts.unreached(placed, absent))

    def _requests(
        self,
        items: Sequence[Entry],
        placed: Sequence[Entry],
        groups: GroupBatch,
        routes: Routes,
    ) -> dict[str, PushRequest]:
        requests = Requests(self._groups, groups, routes)
        for item in items:
            requests.answer(item)
        for item in placed:
            requests.tell(item)
        return requests.by_gateway

    def _sought(self, placed: Sequence[Entry], groups: GroupBatch) -> set[int]:
        """Whose routes are needed: of a group, of those who wrote, of who comes and goes, and, if it is
        a small one, of the members who were at no gateway the last time."""
        sought = {user_id for item in placed for user_id in item.members}
        for item in placed if groups.targets else ():
            if item.group_id is not None:
                target = groups.of(item)
                sought.add(item.author_id)
                sought.update(user_id for user_id, _ in target.moved)
                sought.update(target.returned)
                on = item.conversation_id
                if target.user_ids:
                    held = (self._groups.held_at(g, on) for g in groups.gateways[on])
                    sought.update(target.user_ids.difference(*held))
        return sought

    async def _push(self, requests: dict[str, PushRequest]) -> dict[str, PushResponse | None]:
        """A gateway that is behind in a group gets what it has missed, and the same once more."""
        answers = await self._gateways.push(requests)
        while behind := {g: a for g, a in answers.items() if a is not None and a.behind}:
            for gateway, answer in behind.items():
                await self._groups.catch_up(requests[gateway], answer.behind)
            answers |= await self._gateways.push({gateway: requests[gateway] for gateway in behind})
        for gateway, answered in answers.items():
            if answered is not None:
                self._groups.note(gateway, answered)
        return answers

    async def _note_missed(
        self,
        requests: Mapping[str, PushRequest],
        answers: Answers,
        times: int,
    ) -> None:
        """If such a gateway lives all the same, it must not keep connections that something is missing
        on, the senders' other devices among them. ``times`` is from before the requests were made."""
        missed: dict[str, set[Missed]] = {}
        for gateway, request in requests.items():
            if answers[gateway] is not None:
                # No more than it was told: others may have been missed meanwhile.
                self._told(gateway, request.missed_user_ids, times)
                self._told(gateway, request.missed_conversation_ids, times)
            elif not self._gateways.may_live(gateway):
                self._untold.pop(gateway, None)
            elif users := _concerned(request):
                missed[gateway] = users
                self._times += 1
                self._untold[gateway].update(dict.fromkeys(users, self._times))
        while len(self._untold) > MOST_GATEWAYS:
            del self._untold[next(iter(self._untold))]
        if missed:
            await self._missed.add(missed)

    def _told(self, gateway: str, told: Iterable[Missed], times: int) -> None:
        untold = self._untold.get(gateway, {})
        for one in told:
            if untold.get(one, times) <= times:
                untold.pop(one, None)
        if not untold:
            self._untold.pop(gateway, None)

    async def _keep(self, absent: Iterable[tuple[Entry, Iterable[int]]]) -> None:
        """For those who are absent, what they are to have."""
        kept: dict[int, list[bytes]] = defaultdict(list)
        for item, user_ids in absent:
            frame = b""
            for user_id in user_ids:
                if user_id != item.author_id:
                    frame = frame or item.frame(for_author=False)
                    kept[user_id].append(frame)
        if kept:
            # It may be in the list although that fails.
            self._listed.add(kept)
            await self._offline.append(kept.items())
            # Who was told to look before found nothing.
            self._listed.add(kept)
            await self._wake_newcomers(kept)

    async def _remember(self, items: Sequence[Entry], groups: GroupBatch) -> None:
        """For the devices that are away of those who are here, the author's too; not of a group too big
        for that, whose members sync."""
        remembered: dict[int, list[bytes]] = defaultdict(list)
        for item in items:
            users = item.members if item.group_id is None else groups.of(item).user_ids
            if users:
                frame = item.frame(for_author=True)
                for user_id in users:
                    remembered[user_id].append(frame)
        if remembered:
            await self._recalls.add(remembered.items())

    async def _wake_newcomers(self, user_ids: Iterable[int]) -> None:
        """Who came online between the look at the routes and the append has looked at the list
        before the frames were in it: the gateway is told to look again."""
        newcomers = await self._routes.find(list(user_ids))
        by_gateway: dict[str, PushRequest] = defaultdict(PushRequest)
        for user_id, routes in newcomers.items():
            for gateway in {route.gateway for route in routes}:
                by_gateway[gateway].listed_user_ids.append(user_id)
        await self._gateways.push(by_gateway)


class _Whereabouts:
    """Who of a batch is where: by their routes, and of small groups by what gateways said of them."""

    def __init__(
        self, groups: Groups, batch: GroupBatch, sought: Collection[int], routes: Routes
    ) -> None:
        """``routes`` are those of the users ``sought``, of whom some may have none."""
        self._groups = groups
        self._batch = batch
        self.routes = routes
        # Mostly nobody is, and there is nothing to look for.
        self._somebody_is_away = len(routes) < len(sought) or bool(batch.targets)
        # Of groups, who seemed to be away.
        self._away: dict[int, frozenset[int]] = {}

    def away(self, placed: Iterable[Entry]) -> Iterator[tuple[Entry, Iterable[int]]]:
        """Of each entry who seems to have no device online, before anything was sent."""
        routes = self.routes
        for item in placed if self._somebody_is_away else ():
            if item.group_id is not None:
                yield item, self._away_of_group(item)
            elif away := [user_id for user_id in item.members if user_id not in routes]:
                yield item, away

    def _away_of_group(self, item: Entry) -> Collection[int]:
        members, on = self._batch.of(item).user_ids, item.conversation_id
        if not members:
            return ()
        held = (self._groups.held_at(gateway, on) for gateway in self._batch.gateways[on])
        away = members.difference(self.routes, *held)
        self._away[id(item)] = away
        return away

    def unreached(
        self, placed: Iterable[Entry], absent: Absent
    ) -> Iterator[tuple[Entry, Iterable[int]]]:
        """Of each entry who seemed to have one, and was not reached."""
        # Most gateways have all whom they were told of.
        sound = {gateway for gateway, missing in absent.items() if missing == set()}
        lost = {
            user_id
            for user_id, routes in self.routes.items()
            if routes[0].gateway not in sound and not _is_reached(routes, user_id, absent)
        }
        for item in placed if lost or self._batch.targets else ():
            if item.group_id is not None:
                yield item, self._unreached_of_group(item, absent)
            elif lost:
                yield item, lost.intersection(item.members)

    def _unreached_of_group(self, item: Entry, absent: Absent) -> Collection[int]:
        members, on = self._batch.of(item).user_ids, item.conversation_id
        if not members:
            return ()
        answered = (g for g in self._batch.gateways[on] if absent.get(g) is not None)
        reached = (self._groups.held_at(gateway, on) for gateway in answered)
        return members.difference(self._away[id(item)], *reached)

    def here(
        self, requests: Mapping[str, PushRequest], among: Container[int]
    ) -> dict[int, set[str]]:
        """Those ``among`` whom a request may tell something, with their gateways."""
        here: dict[int, set[str]] = defaultdict(set)
        for user_id, routes in self.routes.items():
            if user_id in among:
                here[user_id].update(route.gateway for route in routes)
        for gateway, request in requests.items():
            for roster in request.rosters:
                for user_id in self._groups.held_at(gateway, roster.conversation_id):
                    if user_id in among:
                        here[user_id].add(gateway)
        return here


def _is_reached(routes: Iterable[Route], user_id: int, absent: Absent) -> bool:
    for route in routes:
        missing = absent.get(route.gateway)
        if missing is not None and user_id not in missing:
            return True
    return False


def _concerned(request: PushRequest) -> set[Missed]:
    """Who is not sent something when this is not."""
    users: set[Missed] = {user for d in request.deliveries for user in d.user_ids}
    return users.union(d.conversation_id for d in request.deliveries if d.HasField("group"))
