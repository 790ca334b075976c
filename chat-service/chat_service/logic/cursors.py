"""How far members have got: `delivered` and `read` of a message follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from chat_service.logic import membership
from chat_service.logic.apart import apart
from chat_service.logic.notify import Note
from chat_service.model import members, messages
from chat_service.model.members import Cursors, MemberKey, Position
from chat_service.svc import ServiceContext
from im_common.domain import frames
from im_common.domain.ids import parse_conversation
from im_common.errors import AppError, invalid
from im_common.runtime.faults import report

MOST_MOVES = 1000
# In a group those hear of it who wrote one of the newest so many of the messages that a cursor passed.
MOST_PASSED = 100


@dataclass(frozen=True, slots=True)
class Move:
    """How far a user says to have got; what is read is delivered too."""

    user_id: int
    conversation_id: str
    delivered_seq: int = 0
    read_seq: int = 0
    # The connection that said so, which needs no receipt; 0 for none.
    connection_id: int = 0

    @property
    def key(self) -> MemberKey:
        return self.user_id, self.conversation_id


async def ack_message(svc: ServiceContext, user_id: int, conversation_id: str, seq: int) -> None:
    """INVALID_ARGUMENT, PERMISSION_DENIED, NOT_GROUP_MEMBER, NOT_FOUND (no such group)."""
    await _advance_one(svc, Move(user_id, conversation_id, delivered_seq=seq))


async def mark_as_read(svc: ServiceContext, user_id: int, conversation_id: str, seq: int) -> int:
    """Where the cursor is now; it never moves back, nor past the last message."""
    return (await _advance_one(svc, Move(user_id, conversation_id, read_seq=seq))).read_seq


async def advance_cursors(
    svc: ServiceContext, moves: Iterable[Move], gateway: str
) -> dict[MemberKey, AppError]:
    """Moves cursors of many users by four statements at most, and tells the others. Gives the
    refusals; ``gateway`` is the one that has the moves' connections."""
    merged: dict[MemberKey, Move] = {}
    for move in moves:
        merged[move.key] = _merge(merged[move.key], move) if move.key in merged else move
    if len(merged) > MOST_MOVES:
        raise invalid("moves", f"may be at most {MOST_MOVES}")
    refused, _ = await _advance(svc, list(merged.values()), gateway)
    return refused


async def _advance_one(svc: ServiceContext, move: Move) -> Cursors:
    refused, cursors = await _advance(svc, [move], "")
    if move.key in refused:
        raise refused[move.key]
    return cursors[move.key]


async def _advance(
    svc: ServiceContext, moves: Sequence[Move], gateway: str
) -> tuple[dict[MemberKey, AppError], dict[MemberKey, Cursors]]:
    """Why moves were not made, and where the cursors of the others are now."""
    rows, last_seqs = await svc.db.read(members.with_last_seqs, [move.key for move in moves])
    refused = await membership.refusals(svc, [move.key for move in moves], rows)
    cursors: dict[MemberKey, Cursors] = {}
    changed: dict[MemberKey, Cursors] = {}
    # After which message each begins to move.
    since: dict[MemberKey, int] = {}
    for move in moves:
        if min(move.delivered_seq, move.read_seq) < 0:
            refused[move.key] = invalid("seq", "must not be negative")
        if move.key in refused:
            continue
        if move.key not in rows and isinstance(membership.parse(move.conversation_id), int):
            # A member of whom the conversation has not been told yet: a row would show all of it.
            cursors[move.key] = Cursors(0, 0)
            continue
        old = rows.get(move.key, Position())
        cursors[move.key] = new = _moved(old, move, last_seqs.get(move.conversation_id, 0))
        if new != (old.read_seq, old.delivered_seq):
            changed[move.key] = new
            is_read = new.read_seq != old.read_seq
            since[move.key] = old.read_seq if is_read else old.delivered_seq
    if changed:
        await svc.db.write(members.advance, changed)
    unmoved = {k: now for k, now in cursors.items() if k in rows and k not in changed}
    if unmoved:
        changed |= await _last_written(svc, unmoved)
    news = [move for move in moves if move.key in changed]
    receivers = await _receivers(svc, news, changed, since)
    _tell(svc, news, changed, receivers, gateway)
    return refused, cursors


def _moved(old: Position, move: Move, last_seq: int) -> Cursors:
    top = last_seq if old.left_seq is None else old.left_seq
    read = max(old.read_seq, min(move.read_seq, top))
    return Cursors(read, max(old.delivered_seq, read, min(move.delivered_seq, top)))


async def _last_written(
    svc: ServiceContext, cursors: Mapping[MemberKey, Cursors]
) -> dict[MemberKey, Cursors]:
    """Those of the cursors that stand at a message of the user's own. Sending moved them without a
    receipt, so what a device says about them now is still news."""
    places = {(key[1], now.read_seq) for key, now in cursors.items()}
    senders = await svc.db.read(messages.senders, places)
    return {
        key: now for key, now in cursors.items() if senders.get((key[1], now.read_seq)) == key[0]
    }


def _merge(a: Move, b: Move) -> Move:
    return replace(
        b,
        delivered_seq=max(a.delivered_seq, b.delivered_seq),
        read_seq=max(a.read_seq, b.read_seq),
        connection_id=b.connection_id if a.connection_id == b.connection_id else 0,
    )


async def _receivers(
    svc: ServiceContext,
    moves: Sequence[Move],
    cursors: Mapping[MemberKey, Cursors],
    since: Mapping[MemberKey, int],
) -> dict[MemberKey, Sequence[int]]:
    """Who hears of them: both of two, but when one has blocked the other; of a group who wrote what the
    cursor passed, and the user's own devices; nobody in a group with too many members."""
    silent = await _silent(svc, moves)
    writers = await _writers(svc, [move.key for move in moves], cursors, since)
    receivers: dict[MemberKey, Sequence[int]] = {}
    for move in moves:
        users = await svc.audiences.of(move.conversation_id)
        if move.key in silent:
            users = [move.user_id]
        elif users and move.key in writers:
            users = [user for user in users if user in writers[move.key] or user == move.user_id]
        receivers[move.key] = users
    return receivers


async def _writers(
    svc: ServiceContext,
    keys: Iterable[MemberKey],
    cursors: Mapping[MemberKey, Cursors],
    since: Mapping[MemberKey, int],
) -> dict[MemberKey, set[int]]:
    """In groups, who wrote what a cursor passed; up to where it is when it did not move."""
    passed: dict[MemberKey, int] = {}
    ranges: dict[str, tuple[int, int]] = {}
    for key in keys:
        conversation_id = key[1]
        if isinstance(parse_conversation(conversation_id), int):
            last = cursors[key].delivered_seq
            first = passed[key] = max(since.get(key, 0), last - MOST_PASSED) + 1
            widest = ranges.get(conversation_id, (first, last))
            ranges[conversation_id] = min(first, widest[0]), max(last, widest[1])
    if not ranges:
        return {}
    newest = await svc.db.read(messages.writers, ranges)
    return {
        key: {user for user, seq in newest[key[1]].items() if seq >= first}
        for key, first in passed.items()
    }


def _tell(
    svc: ServiceContext,
    moves: Iterable[Move],
    cursors: Mapping[MemberKey, Cursors],
    receivers: Mapping[MemberKey, Sequence[int]],
    gateway: str,
) -> None:
    for move in moves:
        if not receivers[move.key]:
            continue
        receipt = frames.Receipt(
            conversation_id=move.conversation_id,
            user_id=move.user_id,
            delivered_seq=cursors[move.key].delivered_seq,
            read_seq=cursors[move.key].read_seq,
        )
        is_of_group = isinstance(parse_conversation(move.conversation_id), int)
        note = Note(
            frames.encode(receipt),
            receivers[move.key],
            gateway,
            move.connection_id,
            receipt_of=move.key if is_of_group else None,
        )
        svc.notifier.tell(("receipt", *move.key), note)


async def _silent(svc: ServiceContext, moves: Sequence[Move]) -> set[MemberKey]:
    """Those that only the user's own devices are told of, as one of the two has blocked the other. All
    of two users when friend-service is away: cursors wait for nobody, and a receipt may be lost."""
    pairs = {
        move.key: users
        for move in moves
        if isinstance(users := parse_conversation(move.conversation_id), tuple)
    }
    try:
        found = await apart(svc, list(pairs.values()))
    except AppError as error:
        report(error, "receipts lost", count=len(pairs))
        return set(pairs)
    return {key for key, users in pairs.items() if users in found}
