"""What a batch has for each gateway, as one request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from chat_service.mq.entry import Entry
from chat_service.mq.groups import GroupBatch, Groups, Routes, Target, standing
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
        author_id = item.author_id
        if item.group_id is None:
            for user_id in item.members:
                self._tell_user(item, user_id, for_author=user_id == author_id)
        else:
            self._tell_group(item)
            if not _has_left(author_id, self._batch.of(item)):
                self._tell_user(item, author_id, for_author=True)

    def _tell_user(self, item: Entry, user_id: int, *, for_author: bool) -> None:
        """At each gateway where a connection of the user is that is not left out."""
        left_out = item.left_out
        gateways = [
            route.gateway
            for route in self._routes.get(user_id, ())
            if not for_author
            or route.connection_id != left_out.connection_id
            or route.gateway != left_out.address
        ]
        if not gateways:
            return
        frame = item.frame(for_author=for_author)
        for gateway in dict.fromkeys(gateways):
            # Made in its place, and of what most have: this is done for each message.
            delivery = self.by_gateway[gateway].deliveries.add()
            delivery.frame = frame
            delivery.user_ids.append(user_id)
            delivery.conversation_id = item.conversation_id
            delivery.seq = item.seq
            if for_author and gateway == left_out.address:
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
        for user_id in target.returned:
            if user_id != item.author_id:
                self._tell_user(item, user_id, for_author=False)

    def _is_at(self, gateway: str, user_id: int) -> bool:
        return any(route.gateway == gateway for route in self._routes.get(user_id, ()))


def _answer(by_gateway: dict[str, PushRequest], item: Entry) -> None:
    origin = item.origin
    if origin.address:
        answer = by_gateway[origin.address].answers.add()
        answer.token, answer.frame = origin.token, item.answer()


def _has_left(user_id: int, target: Target) -> bool:
    """Whether who made a change is no member after it."""
    return any(moved == user_id and window.left_seq is not None for moved, window in target.moved)
