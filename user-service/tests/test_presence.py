"""Presence: who is online where, who was seen when, and who does not want it known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio.client import Pipeline

from im.user.v1 import user_pb2 as pb
from im_common.domain.comings import HIDES, Comings
from im_common.domain.ids import now_ms
from im_common.domain.routes import Route, RouteTable, route_key
from im_common.errors import Code
from im_common.runtime.laned_redis import LanedPipeline
from im_common.testing.services import call, refusal

if TYPE_CHECKING:
    from conftest import UserService


async def connect(service: UserService, user_id: int, *platforms: str) -> None:
    """As a gateway does it for each connection."""
    routes = [
        (user_id, Route("127.0.0.1:1", number, platform, "a|device"))
        for number, platform in enumerate(platforms)
    ]
    await RouteTable(service.redis).put(routes)


def devices(*user_ids: int) -> list[pb.DevicePresence]:
    return [pb.DevicePresence(user_id=u, device_id="d", platform="ios") for u in user_ids]


async def leave(service: UserService, *user_ids: int) -> None:
    request = pb.UserOfflineRequest(devices=devices(*user_ids))
    await call(service.presence.UserOffline, request, service="ws-gateway")


async def come(service: UserService, *user_ids: int) -> None:
    request = pb.UserOnlineRequest(devices=devices(*user_ids))
    await call(service.presence.UserOnline, request, service="ws-gateway")


async def hidden_of(service: UserService, *user_ids: int) -> list[int]:
    request = pb.ListHiddenRequest(user_ids=user_ids)
    answer = await call(service.presence.ListHidden, request, service="chat-service")
    return list(answer.user_ids)


async def hide(service: UserService, person: Any) -> None:
    await service.update(person, "presence_hidden", presence_hidden=True)


async def test_a_connected_user_is_online_with_each_platform_once(service: UserService) -> None:
    person = await service.person()
    await connect(service, person.user_id, "web", "ios", "web")

    (seen,) = await service.online(person.user_id)

    assert (seen.user_id, seen.online, list(seen.platforms)) == (
        person.user_id,
        True,
        ["ios", "web"],
    )
    assert abs(seen.last_seen - now_ms()) < 10_000


async def test_a_gateway_that_died_keeps_nobody_online(service: UserService) -> None:
    person = await service.person()
    await connect(service, person.user_id, "web")
    key = route_key(person.user_id)
    for member in await service.redis.zrange(key, 0, -1):
        await service.redis.zadd(key, {member: now_ms() - 1})

    assert not (await service.online(person.user_id))[0].online


async def test_who_left_was_last_seen_then(service: UserService) -> None:
    person, before = await service.person(), now_ms()
    await leave(service, person.user_id)

    (seen,) = await service.online(person.user_id)

    assert not seen.online
    assert not seen.platforms
    assert before <= seen.last_seen <= now_ms()


async def test_there_is_one_answer_for_each_id_in_order(service: UserService) -> None:
    person = await service.person()
    await connect(service, person.user_id, "web")
    ids = [999_999, person.user_id, -5, person.user_id, service.caller.user_id]

    answers = await service.online(*ids)

    assert [answer.user_id for answer in answers] == ids
    assert [answer.online for answer in answers] == [False, True, False, True, False]
    assert answers[0].last_seen == 0
    assert await service.online() == []


def _counted(execute: Any, sent: list[int]) -> Any:
    async def counted(pipeline: Pipeline, *arguments: Any, **options: Any) -> Any:
        sent.append(len(pipeline))
        return await execute(pipeline, *arguments, **options)

    return counted


async def test_a_thousand_ids_take_one_round_trip(
    service: UserService, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    for kind in (Pipeline, LanedPipeline):
        monkeypatch.setattr(kind, "execute", _counted(kind.execute, sent))

    assert len(await service.online(*range(1, 1001))) == 1000
    assert sent == [2000]


async def test_more_than_a_thousand_ids_are_refused(service: UserService) -> None:
    error = await refusal(service.online(*range(1, 1002)))

    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "user_ids")


async def test_who_hides_was_never_here_but_for_themselves(service: UserService) -> None:
    person = await service.person()
    await come(service, person.user_id)
    await connect(service, person.user_id, "web")
    await hide(service, person)

    (seen,) = await service.online(person.user_id)
    (own,) = await service.online(person.user_id, caller=person)

    assert (seen.online, seen.last_seen, list(seen.platforms)) == (False, 0, [])
    assert own.online


async def test_who_blocked_and_who_is_blocked_were_never_here_for_each_other(
    service: UserService,
) -> None:
    ann, bob, eve = await service.person(), await service.person(), await service.person()
    for person in (ann, bob, eve):
        await connect(service, person.user_id, "web")
        await leave(service, person.user_id)
    service.people.blocks = {(ann.user_id, bob.user_id)}
    ids = ann.user_id, bob.user_id, eve.user_id

    for caller, seen in ((ann, [True, False, True]), (bob, [False, True, True])):
        answers = await service.online(*ids, caller=caller)
        assert [answer.online for answer in answers] == seen
        assert [answer.last_seen > 0 for answer in answers] == seen


async def test_a_hidden_user_stays_hidden_when_redis_was_emptied(service: UserService) -> None:
    person = await service.person()
    await hide(service, person)
    await service.redis.delete(f"presence:{person.user_id}")
    await connect(service, person.user_id, "web")

    assert not (await service.online(person.user_id))[0].online


async def test_services_hear_who_hides(service: UserService) -> None:
    shown, hidden = await service.person(), await service.person()
    await hide(service, hidden)

    assert await hidden_of(service, shown.user_id, hidden.user_id) == [hidden.user_id]
    assert await hidden_of(service) == []

    error = await refusal(hidden_of(service, *range(1, 1002)))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "user_ids")


async def test_that_somebody_hides_or_does_no_longer_is_to_be_told_soon(
    service: UserService,
) -> None:
    person, comings = await service.person(), Comings(service.redis)
    await comings.touch([person.user_id])
    claim = await comings.claim(10)
    await comings.believe(claim.looks)
    (look,) = claim.looks
    look.after, look.again_at = 0, now_ms() + 60_000
    await comings.settle(claim)
    assert (await comings.claim(10)).looks == []

    await hide(service, person)

    claim = await comings.claim(10)
    assert [(look.user_id, look.before) for look in claim.looks] == [(person.user_id, HIDES)]


async def test_one_user_can_be_asked_for(service: UserService) -> None:
    person = await service.person()
    await connect(service, person.user_id, "desktop")
    request = pb.IsUserOnlineRequest(user_id=person.user_id)

    answer = await call(service.presence.IsUserOnline, request, token=service.caller.token)

    assert (answer.presence.user_id, answer.presence.online) == (person.user_id, True)
    assert list(answer.presence.platforms) == ["desktop"]


@pytest.mark.parametrize("method", ["UserOnline", "UserOffline"])
async def test_only_gateways_say_who_is_online(service: UserService, method: str) -> None:
    request = getattr(pb, f"{method}Request")(devices=devices(service.caller.user_id))

    error = await refusal(
        call(getattr(service.presence, method), request, token=service.caller.token)
    )

    assert error.code is Code.PERMISSION_DENIED
