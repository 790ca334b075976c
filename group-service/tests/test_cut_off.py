"""Who is cancelled, or does not get an answer in time, holds nobody up."""

from __future__ import annotations

from typing import Any

from im.group.v1 import group_pb2 as pb
from im_common.testing.cut_off import cut_off
from im_common.testing.people import People
from im_common.testing.services import call


async def test_after_a_hundred_that_are_cut_off_the_next_one_has_its_turn(
    groups: Any, people: People
) -> None:
    ann = await people.new()
    group_id = (await groups.create(ann)).group_id

    async def mute(number: int, timeout_s: float) -> None:
        request = pb.MuteGroupRequest(group_id=group_id, muted=number % 2 == 0)
        await call(groups.stub.MuteGroup, request, token=ann.token, timeout_s=timeout_s)

    await cut_off(mute)
    assert (await groups.get(ann, group_id)).muted
