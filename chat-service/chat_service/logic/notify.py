"""Frames that are of use only now (receipts, typing): told to who is connected, kept for nobody.

They never hold up what causes them. When Redis or a gateway is away they are lost, and the facts
behind them (the cursors) are still in the database.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chat_service.gateways import Gateways
from chat_service.model.members import MemberKey
from im.gateway.v1.push_pb2 import Delivery, PushRequest
from im_common.domain.routes import Route, RouteTable
from im_common.runtime.faults import report

# What waits beyond this is dropped: the newest facts count.
MOST_WAITING = 20_000
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Note:
    """A frame for all devices of some users but the connection that caused it."""

    frame: bytes
    user_ids: Sequence[int]
    gateway: str = ""
    connection_id: int = 0
    # Of a receipt in a group, the conversation and the member whose it is.
    receipt_of: MemberKey | None = None


class Notifier:
    """Sends what is waiting, in batches; what comes in meanwhile makes the next one."""

    def __init__(self, routes: RouteTable, gateways: Gateways) -> None:
        self._routes = routes
        self._gateways = gateways
        self._waiting: dict[Hashable, Note] = {}
        self._wake = asyncio.Event()

    def tell(self, key: Hashable, note: Note) -> None:
        """Sends ``note`` soon; it takes the place of an older one with this key, whose receivers get it
        as well."""
        older = self._waiting.get(key)
        if older is not None and (more := set(older.user_ids).difference(note.user_ids)):
            note = replace(note, user_ids=[*note.user_ids, *sorted(more)])
        if older is not None or len(self._waiting) < MOST_WAITING:
            self._waiting[key] = note
            self._wake.set()

    async def run(self) -> None:
        """Sends for ever; what cannot be sent is lost."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                keys = list(self._waiting)[:BATCH]
                try:
                    await self._send([self._waiting.pop(key) for key in keys])
                except Exception as error:
                    report(error, "frames lost", count=len(keys))

    async def _send(self, notes: Sequence[Note]) -> None:
        routes = await self._routes.find(list({user for note in notes for user in note.user_ids}))
        requests: dict[str, PushRequest] = defaultdict(PushRequest)
        for note in notes:
            for gateway, user_ids in _receivers(note, routes).items():
                requests[gateway].deliveries.append(
                    Delivery(
                        frame=note.frame,
                        user_ids=user_ids,
                        except_connection_id=note.connection_id if gateway == note.gateway else 0,
                        ephemeral=True,
                        **_paced(note),
                    )
                )
        await self._gateways.offer(requests)


def _paced(note: Note) -> dict[str, Any]:
    if note.receipt_of is None:
        return {}
    user_id, conversation_id = note.receipt_of
    return {"conversation_id": conversation_id, "receipt_user_id": user_id}


def _receivers(note: Note, routes: dict[int, list[Route]]) -> dict[str, list[int]]:
    receivers: dict[str, list[int]] = defaultdict(list)
    for user_id in note.user_ids:
        gateways = {
            route.gateway
            for route in routes.get(user_id, ())
            if (route.gateway, route.connection_id) != (note.gateway, note.connection_id)
        }
        for gateway in gateways:
            receivers[gateway].append(user_id)
    return receivers
