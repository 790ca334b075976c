"""Messages: judged, given their places, answered and shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chat_service.model.messages import Place
from chat_service.mq import attachments, store
from chat_service.mq.entry import Entry, Pair, Poison
from chat_service.mq.policy import Facts
from im.chat.v1.record_pb2 import ChatRecord, GroupChange, NewMessage, Origin
from im_common.bus import Record
from im_common.domain import content, frames
from im_common.domain.file_ids import named_files
from im_common.domain.ids import may_be_message_id
from im_common.domain.in_flight import RetryKey
from im_common.errors import AppError
from im_common.runtime.tallies import Tally
from im_common.sql.db import Database, is_duplicate_key

_PLACED = Tally(
    "im_messages_judged_total",
    "Messages by what became of them",
    "outcome",
    ["stored", "repeated", "refused"],
)


@dataclass(slots=True, kw_only=True)
class MessageEntry(Entry):
    """A message and what became of it: a place, or an error for its sender."""

    message: NewMessage
    place: Place | None = None
    # Of those who have to do with it (its author, who is mentioned), the members of the group at the
    # time of the batch; empty for a single conversation.
    group_members: Sequence[int] = ()
    # See roster_seq; None when that is not known.
    known_roster_seq: int | None = None
    # Read from the message once: each is looked at many times on the way.
    conversation_id: str = field(init=False)
    author_id: int = field(init=False)
    group_id: int | None = field(init=False)
    is_group: bool = field(init=False)
    pair: Pair | None = field(init=False)
    members: Sequence[int] = field(init=False)
    key: RetryKey = field(init=False)
    # The files that it names, and why it may not.
    file_ids: Sequence[str] = field(init=False)
    file_refusal: AppError | None = None

    def __post_init__(self) -> None:
        message, content = self.message, self.message.content
        self.file_ids = named_files(content.content, content.ext_json)
        self.conversation_id = message.conversation_id
        self.author_id = author = message.sender_id
        self.key = RetryKey(author, content.client_msg_id)
        self.is_group = message.WhichOneof("target") == "group_id"
        if self.is_group:
            self.group_id, self.pair, self.members = message.group_id, None, ()
        else:
            to = message.to_user_id
            self.group_id, self.pair, self.members = None, (author, to), (to, author)

    @property
    def moves(self) -> GroupChange | None:
        """The change of its group that it tells of: who comes and goes with it."""
        return None

    @property
    def changes_members(self) -> bool:
        return self.moves is not None and bool(self.moved_user_ids)

    @property
    def moved_user_ids(self) -> Sequence[int]:
        change = self.moves
        return (*change.joined_user_ids, *change.left_user_ids) if change is not None else ()

    @property
    def roster_seq(self) -> int | None:
        return self.known_roster_seq

    def refusal(self, facts: Facts) -> AppError | None:
        """Why its author may not write it."""
        refused = facts.refusal(self.pair, self.group_id, self.author_id)
        if refused is None and self.message.content.mentions_all:
            refused = facts.refusal_of_all(self.group_id or 0, self.author_id)
        return refused or self.file_refusal

    @property
    def timestamp(self) -> int:
        return self.message.timestamp

    @property
    def asked_user_ids(self) -> Sequence[int]:
        return self.author_id, *self.message.content.mentions

    @property
    def to_deliver(self) -> bool:
        # Not for a client's retry of a message that has its place already under another message_id.
        return self.place is not None and self.place.message_id == self.message.message_id

    @property
    def seq(self) -> int:
        assert self.place is not None
        return self.place.seq

    @property
    def new_place(self) -> Place | None:
        return self.place if self.to_deliver else None

    @property
    def left_out(self) -> Origin:
        # It is told `sent`.
        return self.origin

    def answer(self) -> bytes:
        client_msg_id, place = self.message.content.client_msg_id, self.place
        if self.error is not None or place is None:
            assert self.error is not None
            return frames.error_frame(self.error, client_msg_id)
        return frames.encode(
            frames.Sent(
                client_msg_id=client_msg_id,
                message_id=place.message_id,
                conversation_id=place.conversation_id,
                seq=place.seq,
                timestamp=place.timestamp,
            )
        )

    def frame(self, *, for_author: bool) -> bytes:
        message, place = self.message, self.place
        assert place is not None
        shown = content.message_frame(
            message.content,
            message_id=place.message_id,
            conversation_id=place.conversation_id,
            seq=place.seq,
            from_=message.sender_id,
            to=message.to_user_id,
            group_id=message.group_id,
            timestamp=place.timestamp,
            for_sender=for_author,
        )
        return frames.encode(shown)


class Messages:
    def __init__(self, db: Database) -> None:
        self._db = db

    def decode(self, record: Record, parsed: ChatRecord) -> MessageEntry:
        check_message(parsed.message)
        return MessageEntry(record=record, origin=parsed.origin, message=parsed.message)

    async def apply(self, entries: Sequence[Entry], facts: Facts) -> None:
        items = [entry for entry in entries if isinstance(entry, MessageEntry)]
        await attachments.judge(self._db, items)
        refused = [item for item in items if not _is_allowed(item, facts)]
        if refused:
            # What is stored keeps its place, whatever is allowed by now.
            await store.find_places(self._db, refused)
            for item in refused:
                if item.place is None and item.error is None:
                    item.error = item.refusal(facts)
        await self._store(items)
        for item in items:
            _PLACED.counts[_outcome(item)] += 1

    async def _store(self, items: Sequence[MessageEntry]) -> None:
        """Most batches have nothing that is stored already: the unique key tells those that have,
        which are looked up and tried once more."""
        try:
            await store.store(self._db, items)
        except Exception as error:
            if not is_duplicate_key(error):
                raise
            await store.find_places(self._db, [i for i in items if i.error is None])
            await store.store(self._db, items)


def _outcome(item: MessageEntry) -> str:
    if item.error is not None:
        return "refused"
    return "stored" if item.to_deliver else "repeated"


def _is_allowed(item: MessageEntry, facts: Facts) -> bool:
    """Takes in what is known of its group, and forgets what an earlier try made of it."""
    item.place = item.error = item.known_roster_seq = None
    if item.is_group:
        item.group_members = facts.members(item.message.group_id)
    drop_strangers(item)
    return item.refusal(facts) is None


def drop_strangers(item: MessageEntry) -> None:
    """Of the mentions only those of members stay."""
    mentions = item.message.content.mentions
    if mentions:
        among = item.group_members if item.is_group else item.members
        # One look at the members, of whom there may be many.
        members = set(mentions).intersection(among)
        known = [user_id for user_id in mentions if user_id in members]
        del mentions[:]
        mentions.extend(known)


def check_message(message: NewMessage) -> None:
    """Raises Poison for what no client's message is."""
    given = message.content
    # Each look into a record makes a new text.
    message_id, conversation_id = message.message_id, message.conversation_id
    client_msg_id, reply_to = given.client_msg_id, given.reply_to
    if not (message_id and conversation_id and client_msg_id):
        raise Poison("message_id, conversation_id or client_msg_id is missing")
    if message.sender_id <= 0 or message.WhichOneof("target") is None:
        raise Poison("sender or receiver is missing")
    if not may_be_message_id(message_id) or len(client_msg_id) > 64:
        raise Poison("message_id is none, or client_msg_id is too long")
    if not conversation_id.isascii() or not given.content_type.isascii():
        raise Poison("conversation_id or content_type is none")
    if reply_to and not may_be_message_id(reply_to):
        raise Poison("reply_to is no message_id")
