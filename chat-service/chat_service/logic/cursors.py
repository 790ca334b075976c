"""How far members have got: `delivered` and `read` of a message follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from chat_service.logic import membership
from chat_service.logic.apart import apart
from chat_service.logic.notify import Note
from chat_service.model import members, messages
from chat_service.model.members import Cursors, MemberKey, Position
from chat_service.model.messages import Range
from chat_service.svc import ServiceContext
from im_common.domain import frames
from im_common.domain.call_limits import MOST_MOVES
from im_common.domain.ids import parse_conversation
from im_common.errors import AppError, invalid
from im_common.runtime.faults import report

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
    if changed:
        await svc.db.write(members.advance, changed)
    unmoved = {k: now for k, now in cursors.items() if k in rows and k not in changed}
    if unmoved:
        changed |= await _last_written(svc, unmoved)
    news = [move for move in moves if move.key in changed]
    receivers = await _receivers(svc, news, changed, rows)
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
    before: Mapping[MemberKey, Position],
) -> dict[MemberKey, Sequence[int]]:
    """Who hears of them: both of two, but when one has blocked the other; of a group who wrote what the
    cursor passed, and the user's own devices; nobody in a group with too many members."""
    silent = await _silent(svc, moves)
    receivers: dict[MemberKey, Sequence[int]] = {}
    passed: dict[MemberKey, Range] = {}
    for move in moves:
        key = move.key
        users = await svc.audiences.of(move.conversation_id)
        receivers[key] = [move.user_id] if key in silent else users
        if users and isinstance(parse_conversation(move.conversation_id), int):
            passed[key] = _passed(move.conversation_id, before.get(key, Position()), cursors[key])
    for key, writers in (await _writers(svc, passed)).items():
        receivers[key] = [user for user in receivers[key] if user in writers or user == key[0]]
    return receivers


def _passed(conversation_id: str, old: Position, new: Cursors) -> Range:
    """What a cursor passed; of one that did not move, all up to it."""
    above = 0
    if new.read_seq != old.read_seq:
        above = old.read_seq
    elif new.delivered_seq != old.delivered_seq:
        above = old.delivered_seq
    return Range(conversation_id, max(above, new.delivered_seq - MOST_PASSED), new.delivered_seq)


async def _writers(
    svc: ServiceContext, passed: Mapping[MemberKey, Range]
) -> dict[MemberKey, set[int]]:
    """Who wrote what each cursor passed, by one look for all cursors of a conversation."""
    widest: dict[str, Range] = {}
    for one in passed.values():
        other = widest.get(one.conversation_id, one)
        above, upto = min(one.above, other.above), max(one.upto, other.upto)
        widest[one.conversation_id] = Range(one.conversation_id, above, upto)
    if not widest:
        return {}
    newest = await svc.db.read(messages.writers, list(widest.values()))
    return {
        key: {user for user, seq in newest.get(key[1], {}).items() if seq > one.above}
        for key, one in passed.items()
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
