"""What a batch has for each gateway, as one request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from chat_service.mq.entry import Entry
from chat_service.mq.groups import GroupBatch, Groups, Routes, Target, standing
from im.chat.v1.record_pb2 import Origin
from im.gateway.v1.push_pb2 import Delivery, GroupTarget, PushRequest


def only_answers(items: Iterable[Entry]) -> dict[str, PushRequest]:
    """What is to be said to who waits for these, and nothing else."""
    by_gateway: dict[str, PushRequest] = defaultdict(PushRequest)
    for item in items:
        _answer(by_gateway, item)
    return by_gateway


class Requests:
    """One request for each gateway that has somebody to tell, with everything in order."""

    def __init__(self, groups: Groups, batch: GroupBatch, routes: Routes) -> None:
        self._groups = groups
        self._batch = batch
        self._routes = routes
        self.by_gateway: dict[str, PushRequest] = defaultdict(PushRequest)
        # Of which group a gateway's request says what is known.
        self._said: set[tuple[str, str]] = set()

    def answer(self, item: Entry) -> None:
        """Nobody waits for what has no origin."""
        _answer(self.by_gateway, item)

    def tell(self, item: Entry) -> None:
        if item.group_id is None:
            author_id = item.author_id
            others = self._gateways_of([user for user in item.members if user != author_id])
            self._deliver(item, others, for_author=False)
        else:
            self._tell_group(item)
            if _has_left(item.author_id, self._batch.of(item)):
                return
        if item.group_id is not None or item.author_id in item.members:
            self._deliver(item, self._gateways_of([item.author_id], item.left_out), for_author=True)

    def _gateways_of(
        self, user_ids: Iterable[int], left_out: Origin | None = None
    ) -> dict[str, list[int]]:
        """Users by gateway; a user whose only connection there is left out is not."""
        found: dict[str, list[int]] = {}
        address, number = (left_out.address, left_out.connection_id) if left_out else ("", 0)
        for user_id in user_ids:
            for route in self._routes.get(user_id, ()):
                gateway = route.gateway
                if route.connection_id == number and gateway == address:
                    continue
                users = found.setdefault(gateway, [])
                if user_id not in users:
                    users.append(user_id)
        return found

    def _deliver(
        self, item: Entry, receivers: Mapping[str, list[int]], *, for_author: bool
    ) -> None:
        if not receivers:
            return
        frame, left_out = item.frame(for_author=for_author), item.left_out
        for gateway, user_ids in receivers.items():
            # Made in its place, of what most have: this is done for each message.
            delivery = self.by_gateway[gateway].deliveries.add(
                frame=frame,
                user_ids=user_ids,
                conversation_id=item.conversation_id,
                seq=item.seq,
            )
            if gateway == left_out.address:
                delivery.except_connection_id = left_out.connection_id
            if item.event_id:
                delivery.event_id = item.event_id
            if item.traceparent:
                delivery.traceparent = item.traceparent
            if item.left_out_sessions:
                delivery.except_session_ids.extend(item.left_out_sessions)

    def _tell_group(self, item: Entry) -> None:
        """One small entry for each gateway that holds a member; the frame is encoded once."""
        target, on = self._batch.of(item), item.conversation_id
        self._groups.add_moved(item, self._batch, self._routes)
        gateways = self._batch.gateways[on]
        frame = item.frame(for_author=False) if gateways else b""
        for gateway in gateways:
            request = self.by_gateway[gateway]
            if (gateway, on) not in self._said:
                self._said.add((gateway, on))
                is_small = target.user_ids is not None
                request.rosters.append(self._groups.roster(gateway, on, is_small=is_small))
            request.deliveries.append(
                Delivery(
                    frame=frame,
                    conversation_id=on,
                    seq=item.seq,
                    traceparent=item.traceparent,
                    group=GroupTarget(
                        roster_seq=target.roster_seq,
                        except_user_id=item.author_id,
                        is_change=target.after != target.roster_seq,
                        moved=[
                            standing(user_id, window)
                            for user_id, window in target.moved
                            if window.left_seq is not None or self._is_at(gateway, user_id)
                        ],
                    ),
                )
            )

    def _is_at(self, gateway: str, user_id: int) -> bool:
        return any(route.gateway == gateway for route in self._routes.get(user_id, ()))


def _answer(by_gateway: dict[str, PushRequest], item: Entry) -> None:
    if address := item.origin.address:
        by_gateway[address].answers.add(token=item.origin.token, frame=item.answer())


def _has_left(user_id: int, target: Target) -> bool:
    """Whether who made a change is no member after it."""
    return any(moved == user_id and window.left_seq is not None for moved, window in target.moved)
