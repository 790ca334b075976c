"""Who is cancelled, or does not get an answer in time, holds nobody up."""

from __future__ import annotations

from typing import Any

from im.user.v1 import user_pb2 as pb
from im_common.testing.cut_off import cut_off
from im_common.testing.services import call


async def test_after_a_hundred_that_are_cut_off_the_next_one_has_its_turn(service: Any) -> None:
    person = await service.person()

    async def rename(number: int, timeout_s: float) -> None:
        request = pb.UpdateProfileRequest(
            profile=pb.Profile(user=pb.User(nickname=f"ann {number}"))
        )
        request.update_mask.paths.append("nickname")
        await call(service.users.UpdateProfile, request, token=person.token, timeout_s=timeout_s)

    await cut_off(rename)
    assert (await service.profile(person)).user.nickname == "ann 100"
