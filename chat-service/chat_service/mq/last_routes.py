"""Where users were at the last look at the routes: a few messages go there while it is looked again."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cachetools import FIFOCache

from chat_service.mq.groups import Routes
from im_common.domain.routes import Route

# Of so many users it is remembered.
MOST = 20_000


class LastRoutes:
    def __init__(self) -> None:
        self._last: FIFOCache[int, Sequence[Route]] = FIFOCache(MOST)

    def note(self, user_ids: Collection[int], routes: Routes) -> None:
        """What a look at the routes of these users found."""
        for user_id in user_ids:
            if found := routes.get(user_id):
                self._last[user_id] = found
            else:
                self._last.pop(user_id, None)

    def of(self, user_ids: Collection[int]) -> Routes | None:
        """None when one of them is not known to be anywhere."""
        found = {user_id: self._last.get(user_id) for user_id in user_ids}
        known = {user_id: routes for user_id, routes in found.items() if routes}
        return known if len(known) == len(found) else None


def together(guess: Routes, found: Routes) -> Routes | None:
    """Both, where ``guess`` holds for all of its users; None when nothing else was found."""
    if found == guess:
        return None
    more = {user_id: set(routes).difference(guess[user_id]) for user_id, routes in found.items()}
    if not any(more.values()):
        return None
    return {user_id: [*routes, *more.get(user_id, ())] for user_id, routes in guess.items()}
