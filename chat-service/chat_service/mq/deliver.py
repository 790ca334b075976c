"""Hands the outcome of a batch on: answers to senders, frames to gateways, the rest to offline lists.

Every step can be repeated: gateways drop a frame that a connection has had already, and an answer
whose sender has been answered finds nobody waiting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from msgspec import UNSET, Raw

from chat_service.gateways import Gateways
from chat_service.mq.item import Item, Outgoing, RecallItem
from chat_service.mq.listed import Listed
from im.chat.v1.record_pb2 import Origin
from im.gateway.v1.push_pb2 import Answer, Delivery, PushRequest
from im_common.domain import frames
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
        self._listed = Listed()
        # By gateway: who was not sent something there and has not been told yet, each with the number
        # of the last time.
        self._untold: dict[str, dict[int, int]] = defaultdict(dict)
        self._times = 0

    async def deliver(self, items: Sequence[Outgoing]) -> None:
        """Raises only when Redis is away: then the whole is to be repeated."""
        placed = [item for item in items if item.to_deliver]
        # Before the look at the routes: who comes online after it finds them.
        await self._remember([item for item in placed if isinstance(item, RecallItem)])
        routes = await self._routes.find(list({user for item in placed for user in item.members}))
        # Before anybody is told `sent`: by then a message for who is away is in their list.
        await self._keep(placed, lambda user_id: user_id not in routes)
        requests = _requests(items, placed, routes)
        drained = self._listed.drain(requests, routes)
        for gateway, request in requests.items():
            if users := self._untold.get(gateway):
                request.missed_user_ids.extend(users)
        times = self._times
        for item in items:
            self._gateways.seen_alive(item.origin.address, item.timestamp)
        unreached: Collection[int] = drained
        try:
            reached = await self._gateways.push(requests)
            unreached = [
                user_id
                for user_id in drained
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

    async def _keep(self, placed: Sequence[Outgoing], absent: Callable[[int], bool]) -> None:
        kept: dict[int, list[bytes]] = defaultdict(list)
        for item in placed:
            if self._is_too_big(item):
                continue
            frame = b""
            for user_id in item.members:
                if user_id != item.author_id and absent(user_id):
                    frame = frame or _frame(item, for_sender=False)
                    kept[user_id].append(frame)
        if kept:
            self._listed.add(kept)
            await self._offline.append(kept.items())
            await self._wake_newcomers(kept)

    async def _remember(self, recalls: Sequence[RecallItem]) -> None:
        """For the devices that are away of those who are here, the author's too."""
        remembered: dict[int, list[bytes]] = defaultdict(list)
        for item in recalls:
            if not self._is_too_big(item):
                frame = _recalled_frame(item)
                for user_id in item.members:
                    remembered[user_id].append(frame)
        if remembered:
            await self._recalls.add(remembered.items())

    def _is_too_big(self, item: Outgoing) -> bool:
        """Whether nothing is kept for its members: they sync."""
        return item.is_group and len(item.members) > self._offline_group_members

    async def _wake_newcomers(self, user_ids: Iterable[int]) -> None:
        """Who came online between the look at the routes and the append has looked at the list
        before the frames were in it: the gateway is told to look again."""
        newcomers = await self._routes.find(list(user_ids))
        by_gateway: dict[str, PushRequest] = defaultdict(PushRequest)
        for user_id, routes in newcomers.items():
            for gateway in {route.gateway for route in routes}:
                by_gateway[gateway].drain_user_ids.append(user_id)
        await self._gateways.push(by_gateway)


def _requests(
    items: Sequence[Outgoing], placed: Sequence[Outgoing], routes: Routes
) -> dict[str, PushRequest]:
    """One request for each gateway that has somebody to tell, with everything in order."""
    requests: dict[str, PushRequest] = defaultdict(PushRequest)
    for item in items:
        if item.origin.address:
            requests[item.origin.address].answers.append(
                Answer(token=item.origin.token, frame=_answer_frame(item))
            )
    for item in placed:
        _add_deliveries(requests, item, routes)
    return requests


def _add_deliveries(requests: dict[str, PushRequest], item: Outgoing, routes: Routes) -> None:
    place, origin = _place(item), _excepted(item)
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
    for for_sender, gateways in ((False, receivers), (True, own)):
        frame = _frame(item, for_sender=for_sender) if gateways else b""
        for gateway, user_ids in gateways.items():
            at_origin = gateway == origin.address
            requests[gateway].deliveries.append(
                Delivery(
                    frame=frame,
                    user_ids=user_ids,
                    except_connection_id=origin.connection_id if at_origin else 0,
                    conversation_id=place[0],
                    seq=place[1],
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


def _place(item: Outgoing) -> tuple[str, int]:
    """By which a connection knows that it has had the frame; (…, 0) when it may come twice."""
    if isinstance(item, RecallItem):
        return item.recall.conversation_id, 0
    assert item.place is not None
    return item.place.conversation_id, item.place.seq


def _excepted(item: Outgoing) -> Origin:
    """The connection that gets no copy: a sender's, which is told `sent`."""
    return item.origin if isinstance(item, Item) else Origin()


def _frame(item: Outgoing, *, for_sender: bool) -> bytes:
    if isinstance(item, RecallItem):
        return _recalled_frame(item)
    return _message_frame(item, for_sender=for_sender)


def _answer_frame(item: Outgoing) -> bytes:
    if isinstance(item, RecallItem):
        return frames.error_frame(item.error) if item.error else _recalled_frame(item)
    client_msg_id = item.message.client_msg_id
    if item.error is not None or item.place is None:
        assert item.error is not None
        return frames.error_frame(item.error, client_msg_id)
    place = item.place
    return frames.encode(
        frames.Sent(
            client_msg_id=client_msg_id,
            message_id=place.message_id,
            conversation_id=place.conversation_id,
            seq=place.seq,
            timestamp=place.timestamp,
        )
    )


def _recalled_frame(item: RecallItem) -> bytes:
    recall = item.recall
    return frames.encode(
        frames.Recalled(
            conversation_id=recall.conversation_id,
            seq=item.seq,
            message_id=recall.message_id,
            by=recall.user_id,
        )
    )


def _message_frame(item: Item, *, for_sender: bool) -> bytes:
    message, place = item.message, item.place
    assert place is not None
    return frames.encode(
        frames.Message(
            message_id=place.message_id,
            conversation_id=place.conversation_id,
            seq=place.seq,
            from_=message.sender_id,
            content_type=message.content_type,
            content=message.content,
            timestamp=place.timestamp,
            to=UNSET if item.is_group else message.to_user_id,
            group_id=message.group_id if item.is_group else UNSET,
            client_msg_id=message.client_msg_id if for_sender else UNSET,
            reply_to=message.reply_to or UNSET,
            mentions=list(message.mentions) if message.mentions else UNSET,
            ext=Raw(message.ext_json.encode()) if message.ext_json else UNSET,
        )
    )
