"""Receipts of groups: a device gets one a second and conversation, whatever all the members read."""

from __future__ import annotations

import asyncio

from im.gateway.v1.push_pb2 import Delivery
from ws_gateway.logic.connection import Connections

EVERY_S = 1.0


class Receipts:
    """Lets them pass in turn. Of each member the newest waits, in the place of an older one, and for
    those whom that one was for: cursors only go up. The turn of a conversation is that of all of its
    devices here."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        # Of conversations that had one in the last moment: by member, what waits.
        self._waiting: dict[str, dict[int, Delivery]] = {}

    def take(self, delivery: Delivery) -> None:
        """Gives it to its users, now or when it is its turn."""
        waiting = self._waiting.get(delivery.conversation_id)
        if waiting is not None:
            older = waiting.get(delivery.receipt_user_id)
            if older is not None:
                more = set(older.user_ids).difference(delivery.user_ids)
                delivery.user_ids.extend(sorted(more))
            waiting[delivery.receipt_user_id] = delivery
            return
        self._waiting[delivery.conversation_id] = {}
        self._pass(delivery)

    def _pass(self, delivery: Delivery) -> None:
        self._connections.hand_over(delivery)
        loop = asyncio.get_running_loop()
        loop.call_later(EVERY_S, self._next, delivery.conversation_id)

    def _next(self, conversation_id: str) -> None:
        waiting = self._waiting[conversation_id]
        if waiting:
            self._pass(waiting.pop(next(iter(waiting))))
        else:
            del self._waiting[conversation_id]
