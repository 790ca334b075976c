"""What arrives: put in order, without doubles; holes are filled by `sync`; kept for the next start."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from im_client.conversation import Conversation
from im_client.http import Http
from im_client.kept import Kept
from im_client.messages import Message, Pending
from im_client.outbox import Outbox
from im_client.parts import Frame, Tasks, Timer, Turns
from im_client.signals import Signals
from im_client.storage import Change
from im_client.sync import Sync
from im_client.unhandled import Unhandled

_PAGE = 50
# A client that shows messages and has missed more of a conversation begins there anew.
_CATCH_UP = 2_000
_ACK_S = 0.1
_LISTED = 2_000
_BEGUN = "begun"


@dataclass
class _Out:
    """What frames have changed: to be stored at once, and told when it is."""

    # A dict for its order.
    touched: dict[str, None] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    shown: list[Message] = field(default_factory=list)
    # Not shown: the conversation was there already.
    known: list[Message] = field(default_factory=list)
    placed: list[tuple[Pending, Message]] = field(default_factory=list)


class Inbox:
    def __init__(
        self,
        kept: Kept,
        *,
        me: int,
        http: Http,
        send: Callable[[Frame], bool],
        outbox: Outbox,
        on: Signals,
        tasks: Tasks,
    ) -> None:
        self.conversations: dict[str, Conversation] = {}
        self._kept = kept
        self._me = me
        self._http = http
        self._send = send
        self._outbox = outbox
        self._on = on
        self._turns = Turns()
        self._sync = Sync(self, http, tasks, send=send, on_synced=lambda: on.synced.emit(None))
        self._acks: dict[str, int] = {}
        self._ack = Timer(self._tell_received)
        self.unhandled = Unhandled(kept, self._turns, self.conversations)

    async def load(self) -> None:
        self.conversations.update(await self._kept.conversations())
        await self.unhandled.load()

    async def has_begun(self) -> bool:
        return await self._kept.flag(_BEGUN)

    async def refresh(self) -> None:
        """The list of conversations from the server; at the first start it says where each one
        begins. Raises ApiError."""
        is_first = not await self.has_begun()
        most = None if is_first else _LISTED
        items = await self._http.all("/v1/conversations", most=most)
        await self._turns.take(self._list(items, is_first=is_first))
        self._on.conversations.emit(None)

    async def _list(self, items: list[Any], *, is_first: bool) -> None:
        changes = [self._kept.flagged(_BEGUN)]
        for item in items:
            if is_first or item["conversation_id"] in self.conversations:
                conversation = self.of(item["conversation_id"])
                _listed(conversation, item, is_first=is_first)
                changes += self._kept.conversation(conversation)
        await self._kept.write(changes)

    def of(self, conversation_id: str) -> Conversation:
        if conversation_id not in self.conversations:
            self.conversations[conversation_id] = Conversation(conversation_id)
        return self.conversations[conversation_id]

    def connected(self, is_online: bool) -> None:
        self._sync.connected(is_online)
        if is_online:
            for conversation in self.conversations.values():
                if conversation.read_here:
                    self._tell_read(conversation)

    async def take(self, frames: list[Frame]) -> None:
        """One frame, or all of an `offline` batch; stored when it returns."""
        if frames and frames[0]["type"] == "sync":
            self._sync.answer(frames[0])
        else:
            await self._turns.take(self._apply(frames))

    async def open(self, conversation_id: str) -> Conversation:
        """With what is kept of it."""
        conversation = self.of(conversation_id)
        await self._turns.take(self._load_kept(conversation))
        return conversation

    async def _load_kept(self, conversation: Conversation) -> None:
        if not conversation.is_loaded:
            conversation.is_loaded = True
            conversation.prepend(await self._kept.older_than(conversation))

    async def older(self, conversation_id: str, limit: int = _PAGE) -> int:
        """Asks for messages before the first one that is known; gives how many came."""
        conversation = await self.open(conversation_id)
        if conversation.is_complete:
            return 0
        before = conversation.next_seq
        path = f"/v1/conversations/{conversation_id}/messages"
        items = (await self._http.get(path, {"before_seq": before, "limit": limit}))["items"]
        # Two that asked at once.
        if conversation.next_seq != before:
            return 0
        conversation.prepend(Message.of(item) for item in items)
        conversation.is_complete = len(items) < limit
        self._on.conversation.emit(conversation_id)
        return len(items)

    async def mark_read(self, conversation_id: str, seq: int) -> None:
        conversation = self.of(conversation_id)
        if not conversation.read_up_to(seq, self._me):
            return
        conversation.read_here = seq
        self._on.conversation.emit(conversation_id)
        self._tell_read(conversation)
        await self.keep(conversation)

    async def keep(self, conversation: Conversation) -> None:
        async def write() -> None:
            await self._kept.write(self._kept.conversation(conversation))

        await self._turns.take(write())

    async def close(self) -> None:
        """What has begun is stored first."""
        self.connected(False)
        await self._turns.idle()
        self._ack.clear()

    # --- frames

    async def _apply(self, frames: list[Frame]) -> None:
        out = _Out()
        for frame in frames:
            match frame["type"]:
                case "message":
                    self._arrived(Message.of(frame), out)
                case "sent":
                    self._placed(frame, out)
                case "recalled":
                    await self._recalled(frame, out)
                case "receipt":
                    self._receipt(frame, out)
        await self._store(out)
        for frame in frames:
            if frame["type"] == "event":
                self._on.event.emit(frame)

    def _placed(self, frame: Frame, out: _Out) -> None:
        settled = self._outbox.settle(frame["client_msg_id"])
        if settled:
            entry, change = settled
            message = Message.of({"from": self._me, **entry.frame, **frame})
            out.changes.append(change)
            out.placed.append((entry, message))
            self._arrived(message, out)

    def _arrived(self, message: Message, out: _Out) -> None:
        conversation = self.of(message.conversation_id)
        out.touched[conversation.id] = None
        self._settle(message, out)
        if message.seq == conversation.cursor + 1:
            self._show(conversation, message, out)
            self._release(conversation, out)
        elif message.seq > conversation.cursor:
            conversation.held[message.seq] = (message, self._sync.number)
            self._sync.want()
        else:
            out.known.append(message)

    def _settle(self, message: Message, out: _Out) -> None:
        """It may have come by another way before the answer did."""
        own = message.client_msg_id if message.sender == self._me else None
        if settled := self._outbox.settle(own):
            out.changes.append(settled[1])
            out.placed.append((settled[0], message))

    def _show(self, conversation: Conversation, message: Message, out: _Out) -> None:
        old = conversation.append(message, self._me)
        out.touched[conversation.id] = None
        out.changes.append(self._kept.row(message))
        out.shown.append(message)
        if old and not self.unhandled.is_wanted:
            conversation.handled = max(conversation.handled, old[-1].seq)
        out.changes += [self._kept.no_row(one) for one in old if one.seq <= conversation.handled]

    def _release(self, conversation: Conversation, out: _Out, number: int = 0) -> None:
        """Held messages whose turn has come. ``number``: a hole that this `sync` did not fill is there
        for good."""
        for seq, (message, since) in sorted(conversation.held.items()):
            if seq > conversation.cursor + 1 and since >= number:
                return
            del conversation.held[seq]
            if seq > conversation.cursor:
                self._show(conversation, message, out)

    async def _recalled(self, frame: Frame, out: _Out) -> None:
        conversation = self.of(frame["conversation_id"])
        message = conversation.recall(frame["message_id"], frame["seq"])
        if message is None:
            kept = await self._kept.message(conversation.id, frame["seq"])
            message = kept and kept.emptied()
        if message:
            out.changes.append(self._kept.row(message))
        self.unhandled.forget_ahead()
        out.touched[conversation.id] = None

    def _receipt(self, frame: Frame, out: _Out) -> None:
        conversation = self.of(frame["conversation_id"])
        if frame["user_id"] == self._me:
            conversation.read_up_to(frame["read_seq"], self._me)
            if frame["read_seq"] >= conversation.read_here:
                conversation.read_here = 0
        else:
            conversation.heard_of(frame["user_id"], frame["delivered_seq"], frame["read_seq"])
        out.touched[conversation.id] = None

    async def _store(self, out: _Out) -> None:
        for conversation_id in out.touched:
            out.changes += self._kept.conversation(self.conversations[conversation_id])
        await self._kept.write(out.changes)
        for entry, message in out.placed:
            entry.settle(message)
        for message in out.shown:
            self.unhandled.note(message)
            self._on.message.emit(message)
        for conversation_id in out.touched:
            self._on.conversation.emit(conversation_id)
        # A first device begins above what waited for it, and has received it all the same.
        self._ack_later(out.shown + out.known)

    # --- what `sync` gives

    def cursors(self) -> dict[str, int]:
        return {one.id: one.cursor for one in self.conversations.values()}

    async def fill(self, deltas: list[Frame]) -> None:
        await self._turns.take(self._fill(deltas))

    async def _fill(self, deltas: list[Frame]) -> None:
        out = _Out()
        for delta in deltas:
            conversation = self.of(delta["conversation_id"])
            out.touched[conversation.id] = None
            missed = delta["last_seq"] - conversation.cursor
            if missed > _CATCH_UP and not self.unhandled.is_wanted:
                conversation.skip_to(delta["last_seq"])
                conversation.handled = delta["last_seq"]
                conversation.last_message = None
                out.changes += await self._kept.below(conversation)
            elif not delta["messages"]:
                # Everything up to there is deleted, or below what the user may see.
                conversation.cursor = max(conversation.cursor, delta["last_seq"])
            for message in map(Message.of, delta["messages"]):
                self._settle(message, out)
                if message.seq > conversation.cursor:
                    self._show(conversation, message, out)
            counts = delta["last_seq"], delta["read_seq"], delta["unread"]
            conversation.counted(*counts, me=self._me)
        await self._store(out)

    async def filled(self, number: int) -> bool:
        return await self._turns.take(self._release_all(number))

    async def _release_all(self, number: int) -> bool:
        out = _Out()
        holding = [one for one in self.conversations.values() if one.held]
        for conversation in holding:
            self._release(conversation, out, number)
        await self._store(out)
        return any(one.held for one in holding)

    # --- what is told to the server

    def _ack_later(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if message.sender != self._me:
                known = self._acks.get(message.conversation_id, 0)
                self._acks[message.conversation_id] = max(known, message.seq)
        if self._acks and not self._ack.is_set:
            self._ack.set(_ACK_S)

    def _tell_received(self) -> None:
        for conversation_id, seq in self._acks.items():
            self._send({"type": "ack", "conversation_id": conversation_id, "seq": seq})
        self._acks.clear()

    def _tell_read(self, conversation: Conversation) -> None:
        seq = conversation.read_here
        self._send({"type": "read", "conversation_id": conversation.id, "seq": seq})


def _listed(conversation: Conversation, item: Frame, *, is_first: bool) -> None:
    conversation.pinned, conversation.muted = item["pinned"], item["muted"]
    last = item.get("last_message")
    if is_first:
        conversation.skip_to(item["last_seq"])
        conversation.handled = item["last_seq"]
        conversation.read_seq, conversation.unread = item["read_seq"], item["unread"]
    if conversation.cursor == item["last_seq"]:
        conversation.last_message = Message.of(last) if last else conversation.last_message
        conversation.mentioned_seq = item.get("mentioned_seq")
