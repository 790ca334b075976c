"""Who is cancelled, or does not get an answer in time, holds nobody up."""

from __future__ import annotations

from typing import Any

from im.auth.v1 import auth_pb2 as pb
from im_common.testing.cut_off import cut_off
from im_common.testing.services import call


async def test_after_a_hundred_that_are_cut_off_the_next_one_has_its_turn(
    backend: Any, new_name: Any
) -> None:
    name = new_name()
    user_id = (await backend.register(name)).user_id

    async def disable(number: int, timeout_s: float) -> None:
        request = pb.DisableAccountRequest(user_id=user_id, disabled=number % 2 == 1)
        await call(
            backend.auth.DisableAccount, request, service="user-service", timeout_s=timeout_s
        )

    await cut_off(disable)
    assert (await backend.login(name)).user_id == user_id
