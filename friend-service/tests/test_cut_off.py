"""Who is cancelled, or does not get an answer in time, holds nobody up."""

from __future__ import annotations

from typing import Any

from im.friend.v1 import friend_pb2 as pb
from im_common.testing.cut_off import cut_off
from im_common.testing.people import People
from im_common.testing.services import call


async def test_after_a_hundred_that_are_cut_off_the_next_one_has_its_turn(
    friends: Any, people: People
) -> None:
    ann, bob = await people.several(2)
    await friends.befriend(ann, bob)

    async def rename(number: int, timeout_s: float) -> None:
        request = pb.SetRemarkRequest(user_id=bob.user_id, remark=f"bob {number}")
        await call(friends.stub.SetRemark, request, token=ann.token, timeout_s=timeout_s)

    await cut_off(rename)
    assert (await friends.friend_page(ann)).friends[0].remark == "bob 100"
