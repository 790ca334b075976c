"""Who is in whose list: from Redis, and what that does not know from the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection

from friend_service.model import blocks, friendships
from friend_service.model.cache import Kind, Question
from friend_service.svc import ServiceContext
from im_common.domain.call_limits import MOST_LISTS
from im_common.errors import invalid

_TABLES = {Kind.FRIENDS: friendships, Kind.BLOCKS: blocks}


async def among(svc: ServiceContext, questions: Collection[Question]) -> set[Question]:
    """Those of the (kind, owner, member) that are so. One command when Redis knows all the lists; for
    what it does not know one query a kind, and the lists are loaded soon."""
    asked = list(dict.fromkeys(questions))
    known = await svc.lists.look(asked)
    true = {question for question, answer in zip(asked, known, strict=True) if answer}
    missed = [question for question, answer in zip(asked, known, strict=True) if answer is None]
    if not missed:
        return true
    svc.loader.load({(kind, owner) for kind, owner, _ in missed})
    return true | await svc.db.read(_existing, missed)


async def batch_list_friend_ids(svc: ServiceContext, user_ids: Sequence[int]) -> list[list[int]]:
    """The friends of each user, in ascending order; without the database when Redis knows them."""
    if len(user_ids) > MOST_LISTS:
        raise invalid("user_ids", f"may be at most {MOST_LISTS}")
    if not user_ids:
        return []
    found = await svc.loader.friends(user_ids)
    return [found[Kind.FRIENDS, user_id] for user_id in user_ids]


def _existing(connection: Connection, questions: Sequence[Question]) -> set[Question]:
    found: set[Question] = set()
    for kind in Kind:
        pairs = [(owner, member) for of, owner, member in questions if of is kind]
        found.update((kind, *pair) for pair in _TABLES[kind].existing(connection, pairs))
    return found
