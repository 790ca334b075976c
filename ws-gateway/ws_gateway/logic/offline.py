"""Sends what a device has missed to its connection: the offline list, a batch at a time, each taken
away when confirmed, and then the recalls that happened while it was away."""

from __future__ import annotations

import asyncio

import msgspec
import structlog
from msgspec import Raw
from uuid_utils import uuid4

from im_common.frames import Offline, encode
from im_common.ids import now_ms
from im_common.offline import OfflineList
from im_common.recalls import RecallLog
from ws_gateway.logic.connection import Connection

log = structlog.get_logger(__name__)

# A client that confirms nothing gets its live messages after this time all the same.
HOLD_S = 2.0
RETRY_S = 0.5


class _Place(msgspec.Struct):
    """What of a frame says which message it is."""

    type: str = ""
    conversation_id: str = ""
    seq: int = 0

    @property
    def is_message(self) -> bool:
        return self.type == "message" and bool(self.conversation_id and self.seq)


_places = msgspec.json.Decoder(_Place)


class Drain:
    """Runs while there is something in the list. Live messages are held until it is empty."""

    def __init__(self, connection: Connection, offline: OfflineList, recalls: RecallLog) -> None:
        self._connection = connection
        self._offline = offline
        self._recalls = recalls
        # Sent out of the list before the missed recalls, which may be among them.
        self._sent: set[bytes] = set()
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._batch_id = ""
        self._confirmed = asyncio.Event()

    def start(self) -> None:
        """Looks at the list, now or as soon as the batch in hand is confirmed."""
        self._again = True
        if self.idle:
            # At once: a message that arrives from now on is younger than what is in the list.
            self._connection.hold()
            self._task = asyncio.create_task(self._run())

    @property
    def idle(self) -> bool:
        return self._task is None or self._task.done()

    def confirm(self, batch_id: str) -> None:
        if batch_id == self._batch_id:
            self._confirmed.set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._again:
            self._again = False
            try:
                while await self._send_batch():
                    pass
                await self._send_recalls()
            except Exception as error:
                # Redis is away: the list is there when it is back.
                log.warning("what was missed cannot be read", error=repr(error))
                self._again = True
                await asyncio.sleep(RETRY_S)
        self._connection.release()

    async def _send_batch(self) -> bool:
        frames, remaining = await self._offline.head(self._connection.user_id)
        if not frames:
            return False
        # Twice in the list, or sent live already: the consumer repeated a delivery.
        distinct = [f for f in dict.fromkeys(frames) if self._is_new(f)]
        if not distinct:
            await self._offline.confirm(self._connection.user_id, frames)
            return True
        self._batch_id = str(uuid4())
        self._confirmed.clear()
        batch = Offline(
            batch_id=self._batch_id, frames=[Raw(frame) for frame in distinct], remaining=remaining
        )
        self._connection.send(encode(batch))
        if not self._connection.caught_up_at:
            self._sent.update(distinct)
        await self._wait_confirmed()
        await self._offline.confirm(self._connection.user_id, frames)
        return True

    def _is_new(self, frame: bytes) -> bool:
        try:
            place = _places.decode(frame)
        except msgspec.DecodeError:
            return True
        return not place.is_message or self._connection.sees(place.conversation_id, place.seq)

    async def _send_recalls(self) -> None:
        connection = self._connection
        if connection.caught_up_at:
            return
        for frame in await self._recalls.missed(connection.user_id, connection.route.device_id):
            if frame not in self._sent:
                connection.send(frame)
        connection.caught_up_at = now_ms()
        self._sent.clear()

    async def _wait_confirmed(self) -> None:
        try:
            async with asyncio.timeout(HOLD_S):
                await self._confirmed.wait()
        except TimeoutError:
            self._connection.release()
            await self._confirmed.wait()
            self._connection.hold()
