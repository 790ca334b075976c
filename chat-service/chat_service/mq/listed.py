"""Who has something in the offline list, as far as this consumer put it there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from cachetools import FIFOCache

from im.gateway.v1.push_pb2 import PushRequest

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

    def __contains__(self, user_id: object) -> bool:
        return user_id in self._users

    def __len__(self) -> int:
        return len(self._users)

    def send_first(
        self, requests: Mapping[str, PushRequest], here: Mapping[int, Collection[str]]
    ) -> Mapping[int, Collection[str]]:
        """Has the gateways that are told something look at the lists of these users first, each with
        their gateways. Gives them, as they are forgotten: add those again who are not reached."""
        for user_id, gateways in here.items():
            self._users.pop(user_id, None)
            for gateway in gateways:
                if gateway in requests:
                    requests[gateway].listed_user_ids.append(user_id)
        return here
