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
    be silent for a moment: what is pushed to them next must not overtake the list. Messages and events
    are pushed side by side: until one of them has arrived, each says it.
    """

    def __init__(self) -> None:
        # By user, the number of the last time.
        self._users: FIFOCache[int, int] = FIFOCache(MOST)
        self._times = 0

    def add(self, user_ids: Iterable[int]) -> None:
        """Once their list has it; before, too, where that may not become known."""
        self._times += 1
        self._users.update(dict.fromkeys(user_ids, self._times))

    def __contains__(self, user_id: object) -> bool:
        return user_id in self._users

    def __len__(self) -> int:
        return len(self._users)

    def send_first(
        self, requests: Mapping[str, PushRequest], here: Mapping[int, Collection[str]]
    ) -> int:
        """Has the gateways that are told something look at the lists of these users first, each with
        their gateways. Gives the number of this time, for ``told``."""
        for user_id, gateways in here.items():
            for gateway in gateways:
                if gateway in requests:
                    requests[gateway].listed_user_ids.append(user_id)
        return self._times

    def told(self, user_ids: Iterable[int], times: int) -> None:
        """Forgets those whose gateways have looked, but for what came into a list since."""
        for user_id in user_ids:
            if self._users.get(user_id, times + 1) <= times:
                del self._users[user_id]
