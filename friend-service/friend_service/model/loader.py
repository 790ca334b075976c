"""Lists on their way from the database into Redis."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence

from friend_service.model import blocks, friendships
from friend_service.model.cache import MOST_MEMBERS, Kind, List, Lists
from im_common.runtime.faults import report
from im_common.sql.db import Database

# Beyond that a list is loaded when it is missed once more.
_MOST_WAITING = 20_000
_AT_ONCE = 100
_LISTS = {Kind.FRIENDS: friendships.lists, Kind.BLOCKS: blocks.lists}


class Loader:
    """Loads lists into Redis beside the requests that missed them."""

    def __init__(self, db: Database, lists: Lists) -> None:
        self._db = db
        self._lists = lists
        self._waiting: dict[List, None] = {}
        self._wake = asyncio.Event()

    def load(self, lists: Collection[List]) -> None:
        """Soon; not at all when too many wait."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.update(dict.fromkeys(lists))
            self._wake.set()

    async def friends(self, user_ids: Sequence[int]) -> dict[List, list[int]]:
        """Their lists of friends, each in ascending order: from Redis, and what that does not know from
        the database by one query, from where Redis gets it."""
        lists: list[List] = [(Kind.FRIENDS, user_id) for user_id in dict.fromkeys(user_ids)]
        known = await self._lists.whole(lists)
        missed = [one for one in lists if one not in known]
        if not missed:
            return known
        token, claimed = await self._lists.claim(missed)
        found: dict[List, list[int]] = {one: [] for one in missed}
        rows = await self._db.read(friendships.lists, [user for _, user in missed], limit=None)
        for user_id, friend_id in rows:
            found[Kind.FRIENDS, user_id].append(friend_id)
        short = {one: found[one] for one in claimed if len(found[one]) <= MOST_MEMBERS}
        await self._lists.store(token, short)
        return known | found

    async def run(self) -> None:
        """Loads for ever. What cannot be loaded is missed once more."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch = list(self._waiting)[:_AT_ONCE]
                for one in batch:
                    del self._waiting[one]
                try:
                    await self._load(batch)
                except Exception as error:
                    report(error, "lists not loaded", count=len(batch))

    async def _load(self, lists: Sequence[List]) -> None:
        token, claimed = await self._lists.claim(lists)
        for kind in Kind:
            owners = sorted(owner for of, owner in claimed if of is kind)
            if not owners:
                continue
            rows = await self._db.read(_LISTS[kind], owners, limit=MOST_MEMBERS + 1)
            if len(rows) > MOST_MEMBERS:
                # From here on it is not known whether that is all.
                owners = [owner for owner in owners if owner < rows[-1][0]]
            members: dict[List, list[int]] = defaultdict(list)
            for owner, member in rows:
                members[kind, owner].append(member)
            await self._lists.store(
                token, {(kind, owner): members[kind, owner] for owner in owners}
            )
