"""Hands the outcome of a batch on: answers to senders, frames to gateways, the rest to offline lists.

Every step can be repeated: gateways drop a frame that a connection has had already, and an answer
whose sender has been answered finds nobody waiting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from chat_service.gateways import Gateways
from chat_service.mq.entry import Entry
from chat_service.mq.listed import ListedUsers
from im.gateway.v1.outcome_pb2 import Answer
from im.gateway.v1.push_pb2 import Delivery, PushRequest
from im_common.domain.missed import MissedLog
from im_common.domain.offline import OfflineList
from im_common.domain.recalls import RecallLog
from im_common.domain.routes import Route, RouteTable

# So many gateways that were given up are remembered.
MOST_GATEWAYS = 100

Routes = Mapping[int, Sequence[Route]]


class Deliverer:
    def __init__(
        self,
        routes: RouteTable,
        offline: OfflineList,
        recalls: RecallLog,
        missed: MissedLog,
        gateways: Gateways,
        *,
        offline_group_members: int,
    ) -> None:
        self._routes = routes
        self._offline = offline
        self._recalls = recalls
        self._missed = missed
        self._gateways = gateways
        self._offline_group_members = offline_group_members
        self._listed = ListedUsers()
        # By gateway: who was not sent something there and has not been told yet, each with the number
        # of the last time.
        self._untold: dict[str, dict[int, int]] = defaultdict(dict)
        self._times = 0

    async def deliver(self, items: Sequence[Entry]) -> None:
        """Raises only when Redis is away: then the whole is to be repeated."""
        placed = [item for item in items if item.to_deliver]
        # Before the look at the routes: who comes online after it finds them.
        await self._remember([item for item in placed if item.is_kept_for_devices])
        routes = await self._routes.find(list({user for item in placed for user in item.members}))
        # Before anybody is told `sent`: by then a message for who is away is in their list.
        await self._keep(placed, lambda user_id: user_id not in routes)
        requests = _requests(items, placed, routes)
        listed = self._listed.send_first(requests, routes)
        for gateway, request in requests.items():
            if users := self._untold.get(gateway):
                request.missed_user_ids.extend(users)
        times = self._times
        for item in items:
            self._gateways.seen_alive(item.origin.address, item.timestamp)
        unreached: Collection[int] = listed
        try:
            reached = await self._gateways.push(requests)
            unreached = [
                user_id
                for user_id in listed
                if any(reached.get(route.gateway) is None for route in routes[user_id])
            ]
        finally:
            # All of them when it was cancelled.
            self._listed.add(unreached)
        await self._note_missed(requests, reached, times)
        await self._keep(
            placed,
            lambda user_id: (
                user_id in routes and not _is_reached(routes[user_id], user_id, reached)
            ),
        )

    async def _note_missed(
        self,
        requests: Mapping[str, PushRequest],
        reached: Mapping[str, set[int] | None],
        times: int,
    ) -> None:
        """If such a gateway lives all the same, it must not keep connections that something is missing
        on, the senders' other devices among them. ``times`` is from before the requests were made."""
        missed: dict[str, set[int]] = {}
        for gateway, request in requests.items():
            if reached[gateway] is not None:
                # No more than it was told: others may have been missed meanwhile.
                self._told(gateway, request.missed_user_ids, times)
            elif not self._gateways.may_live(gateway):
                self._untold.pop(gateway, None)
            elif users := {user for d in request.deliveries for user in d.user_ids}:
                missed[gateway] = users
                self._times += 1
                self._untold[gateway].update(dict.fromkeys(users, self._times))
        while len(self._untold) > MOST_GATEWAYS:
            del self._untold[next(iter(self._untold))]
        if missed:
            await self._missed.add(missed)

    def _told(self, gateway: str, user_ids: Iterable[int], times: int) -> None:
        untold = self._untold.get(gateway, {})
        for user_id in user_ids:
            if untold.get(user_id, times) <= times:
                untold.pop(user_id, None)
        if not untold:
            self._untold.pop(gateway, None)

    async def _keep(self, placed: Sequence[Entry], absent: Callable[[int], bool]) -> None:
        kept: dict[int, list[bytes]] = defaultdict(list)
        for item in placed:
            if self._is_too_big(item):
                continue
            frame = b""
            for user_id in item.members:
                if user_id != item.author_id and absent(user_id):
                    frame = frame or item.frame(for_author=False)
                    kept[user_id].append(frame)
        if kept:
            self._listed.add(kept)
            await self._offline.append(kept.items())
            await self._wake_newcomers(kept)

    async def _remember(self, items: Sequence[Entry]) -> None:
        """For the devices that are away of those who are here, the author's too."""
        remembered: dict[int, list[bytes]] = defaultdict(list)
        for item in items:
            if not self._is_too_big(item):
                frame = item.frame(for_author=True)
                for user_id in item.members:
                    remembered[user_id].append(frame)
        if remembered:
            await self._recalls.add(remembered.items())

    def _is_too_big(self, item: Entry) -> bool:
        """Whether nothing is kept for its members: they sync."""
        return item.group_id is not None and len(item.members) > self._offline_group_members

    async def _wake_newcomers(self, user_ids: Iterable[int]) -> None:
        """Who came online between the look at the routes and the append has looked at the list
        before the frames were in it: the gateway is told to look again."""
        newcomers = await self._routes.find(list(user_ids))
        by_gateway: dict[str, PushRequest] = defaultdict(PushRequest)
        for user_id, routes in newcomers.items():
            for gateway in {route.gateway for route in routes}:
                by_gateway[gateway].listed_user_ids.append(user_id)
        await self._gateways.push(by_gateway)


def _requests(
    items: Sequence[Entry], placed: Sequence[Entry], routes: Routes
) -> dict[str, PushRequest]:
    """One request for each gateway that has somebody to tell, with everything in order."""
    requests: dict[str, PushRequest] = defaultdict(PushRequest)
    for item in items:
        if item.origin.address:
            requests[item.origin.address].answers.append(
                Answer(token=item.origin.token, frame=item.answer())
            )
    for item in placed:
        _add_deliveries(requests, item, routes)
    return requests


def _add_deliveries(requests: dict[str, PushRequest], item: Entry, routes: Routes) -> None:
    origin = item.left_out
    receivers: dict[str, list[int]] = defaultdict(list)
    senders: set[str] = set()
    for user_id in item.members:
        for route in routes.get(user_id, ()):
            if user_id != item.author_id:
                if user_id not in receivers[route.gateway]:
                    receivers[route.gateway].append(user_id)
            elif (route.gateway, route.connection_id) != (origin.address, origin.connection_id):
                senders.add(route.gateway)
    own = {gateway: [item.author_id] for gateway in senders}
    for for_author, gateways in ((False, receivers), (True, own)):
        frame = item.frame(for_author=for_author) if gateways else b""
        for gateway, user_ids in gateways.items():
            at_origin = gateway == origin.address
            requests[gateway].deliveries.append(
                Delivery(
                    frame=frame,
                    user_ids=user_ids,
                    except_connection_id=origin.connection_id if at_origin else 0,
                    conversation_id=item.conversation_id,
                    seq=item.seq,
                    event_id=item.event_id,
                    except_session_ids=item.left_out_sessions,
                )
            )


def _is_reached(
    routes: Iterable[Route], user_id: int, reached: Mapping[str, set[int] | None]
) -> bool:
    for route in routes:
        absent = reached.get(route.gateway)
        if absent is not None and user_id not in absent:
            return True
    return False
