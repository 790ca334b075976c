"""Messages: judged, given their places, answered and shown."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from chat_service.model.messages import Place
from chat_service.mq import attachments, store
from chat_service.mq.entry import Entry, Origin, Poison
from chat_service.mq.policy import Facts
from im.chat.v1.record_pb2 import ChatRecord, GroupChange, NewMessage
from im_common.bus import Record
from im_common.domain import frames
from im_common.domain.content import Given
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


class MessageEntry(Entry):
    """A message and what became of it: a place, or an error for its sender."""

    __slots__ = (
        "content",
        "file_ids",
        "file_refusal",
        "group_members",
        "is_group",
        "key",
        "message_id",
        "moves",
        "place",
        "to_user_id",
    )

    def __init__(self, record: Record, origin: Origin, message: NewMessage) -> None:
        """Raises Poison for what no client's message is."""
        author_id, to = message.sender_id, message.to_user_id
        super().__init__(record, message.conversation_id, author_id, message.timestamp, origin)
        # It is told `sent`.
        self.left_out = origin
        self.content = given = Given.of(message.content)
        self.message_id = message.message_id
        self.to_user_id = to
        self.is_group = not to
        if to:
            self.pair, self.members = (author_id, to), (to, author_id)
        else:
            self.group_id = message.group_id
        self.key = RetryKey(author_id, given.client_msg_id)
        self.place: Place | None = None
        # Of those who have to do with it (its author, who is mentioned), the members of the group at
        # the time of the batch; empty for a single conversation.
        self.group_members: Sequence[int] = ()
        # The change of its group that it tells of: who comes and goes with it.
        self.moves: GroupChange | None = None
        # The files that it names, and why it may not.
        self.file_ids: Sequence[str] = named_files(given.content, given.ext_json)
        self.file_refusal: AppError | None = None
        self._check()

    def _check(self) -> None:
        """Raises Poison."""
        given, message_id = self.content, self.message_id
        if not (message_id and self.conversation_id and given.client_msg_id):
            raise Poison("message_id, conversation_id or client_msg_id is missing")
        if self.author_id <= 0 or not (self.to_user_id or self.group_id):
            raise Poison("sender or receiver is missing")
        if not may_be_message_id(message_id) or len(given.client_msg_id) > 64:
            raise Poison("message_id is none, or client_msg_id is too long")
        if not self.conversation_id.isascii() or not given.content_type.isascii():
            raise Poison("conversation_id or content_type is none")
        if given.reply_to and not may_be_message_id(given.reply_to):
            raise Poison("reply_to is no message_id")

    @property
    def changes_members(self) -> bool:
        return bool(self.moved_user_ids)

    @property
    def asked_user_ids(self) -> Sequence[int]:
        return self.author_id, *self.content.mentions

    def refusal(self, facts: Facts) -> AppError | None:
        """Why its author may not write it."""
        refused = facts.refusal(self.pair, self.group_id, self.author_id)
        if refused is None and self.content.mentions_all:
            refused = facts.refusal_of_all(self.group_id or 0, self.author_id)
        return refused or self.file_refusal

    def put_at(self, place: Place) -> None:
        """It is stored there; under another message_id when it is a client's retry, of which nobody but
        its sender hears."""
        self.place, self.seq = place, place.seq
        self.to_deliver = place.message_id == self.message_id

    def begin_again(self) -> None:
        """Forgets what an earlier try made of it."""
        self.place = self.error = self.roster_seq = None
        self.seq, self.to_deliver = 0, False

    def answer(self) -> bytes:
        client_msg_id, place = self.content.client_msg_id, self.place
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
        place = self.place
        assert place is not None
        shown = self.content.frame(
            message_id=place.message_id,
            conversation_id=place.conversation_id,
            seq=place.seq,
            from_=self.author_id,
            to=self.to_user_id,
            group_id=self.group_id or 0,
            timestamp=place.timestamp,
            for_sender=for_author,
        )
        return frames.encode(shown)


class Messages:
    def __init__(self, db: Database) -> None:
        self._db = db

    def decode(self, record: Record, parsed: ChatRecord) -> MessageEntry:
        return MessageEntry(record, Origin.of(parsed.origin), parsed.message)

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
    """Takes in what is known of its group."""
    if item.place is not None or item.error is not None:
        item.begin_again()
    if item.group_id is not None:
        item.group_members = facts.members(item.group_id)
    if item.content.mentions:
        drop_strangers(item)
    return item.refusal(facts) is None


def drop_strangers(item: MessageEntry) -> None:
    """Of the mentions only those of members stay."""
    mentions = item.content.mentions
    # One look at the members, of whom there may be many.
    members = set(mentions).intersection(item.group_members if item.is_group else item.members)
    known = tuple(user_id for user_id in mentions if user_id in members)
    item.content = replace(item.content, mentions=known)
