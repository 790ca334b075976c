"""Who has something in the offline list, as far as this consumer put it there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from cachetools import FIFOCache

from im.gateway.v1.push_pb2 import PushRequest
from im_common.domain.routes import Route

# Of so many users it is remembered.
MOST = 50_000


class ListedUsers:
    """Users whose list got something since they were last reached.

    Mostly they are away, and look at the list when they come. But a route may be lost and a gateway
    be silent for a moment: what is pushed to them next must not overtake the list.
    """

    def __init__(self) -> None:
        self._users: FIFOCache[int, None] = FIFOCache(MOST)

    def add(self, user_ids: Iterable[int]) -> None:
        self._users.update(dict.fromkeys(user_ids))

    def send_first(
        self, requests: Mapping[str, PushRequest], routes: Mapping[int, Sequence[Route]]
    ) -> Collection[int]:
        """Has the gateways that are told something of these users look at their lists first. Gives
        them, as they are forgotten: add those again who are not reached."""
        here = [user_id for user_id in routes if user_id in self._users]
        for user_id in here:
            del self._users[user_id]
            for gateway in {route.gateway for route in routes[user_id]}:
                if gateway in requests:
                    requests[gateway].listed_user_ids.append(user_id)
        return here
