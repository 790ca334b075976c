"""Friends are told when what they see of somebody changes."""

from __future__ import annotations

from typing import Any

import pytest

from im.user.v1 import user_pb2 as pb
from user_service.logic import profile_news


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Friends that are not known in time are not told, and that is no test's business here."""
    monkeypatch.setattr(profile_news, "ASK_S", 15.0)


async def test_friends_and_own_devices_hear_what_has_changed_and_nothing_else(service: Any) -> None:
    ann, bob, eve = [await service.person() for _ in range(3)]
    service.people.friends[ann.user_id] = [bob.user_id]
    await service.update(ann, "nickname", "signature", user=pb.User(nickname="Ann", signature=""))
    # The same again, and what is nobody else's business.
    await service.update(ann, "nickname", user=pb.User(nickname="Ann"))
    await service.update(ann, "birthday", birthday="1999-12-31")
    await service.update(ann, "avatar", "nickname", user=pb.User(nickname="Ann", avatar="a.png"))
    wanted = [
        ("ProfileUpdated", {"user_id": ann.user_id, "nickname": "Ann"}),
        ("ProfileUpdated", {"user_id": ann.user_id, "avatar": "a.png"}),
    ]
    for person in (ann, bob):
        assert await service.told(person.user_id, 2) == wanted
    assert await service.told(eve.user_id, 0) == []


async def test_who_has_more_friends_than_are_told_tells_only_their_own_devices(
    service: Any,
) -> None:
    ann = await service.person()
    friends = service.people.crowd(2001)
    service.people.friends[ann.user_id] = friends
    await service.update(ann, "nickname", user=pb.User(nickname="Ann"))
    assert len(await service.told(ann.user_id, 1)) == 1
    service.people.friends[ann.user_id] = friends[:2000]
    await service.update(ann, "nickname", user=pb.User(nickname="Anna"))
    wanted = [("ProfileUpdated", {"user_id": ann.user_id, "nickname": "Anna"})]
    for friend in (friends[0], friends[1999]):
        assert await service.told(friend, 1) == wanted


async def test_a_profile_changes_while_nobody_says_who_the_friends_are(service: Any) -> None:
    ann, bob = await service.person(), await service.person()
    service.people.friends[ann.user_id] = [bob.user_id]
    service.people.friends_are_away = True
    changed = await service.update(ann, "nickname", user=pb.User(nickname="Ann"))
    assert changed.user.nickname == "Ann"
    assert len(await service.told(ann.user_id, 1)) == 1
    service.people.friends_are_away = False
    await service.update(ann, "nickname", user=pb.User(nickname="Anna"))
    wanted = [("ProfileUpdated", {"user_id": ann.user_id, "nickname": "Anna"})]
    assert await service.told(bob.user_id, 1) == wanted
