"""What docs/protocol.md shows a writer of clients is what happens: its examples are played."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from im_people import Connect, Device, Frame, MakeUser, User, make_group

_EXAMPLE = re.compile(r"```json (client|server)(?: (\w+))?\n(.*?)\n```", re.DOTALL)
DOC = Path(__file__).parents[1] / "docs/protocol.md"
# Of `message`: what it has besides, here and there.
OPTIONAL = {"to", "group_id", "client_msg_id", "mentions", "ext", "reply_to"}


def _examples(side: str) -> list[Frame]:
    return [
        json.loads(text) for where, _, text in _EXAMPLE.findall(DOC.read_text()) if where == side
    ]


def _shape(value: Any) -> Any:
    """Names and types; of what may be anything (`data`, `ext`, a list) only that it is there."""
    if isinstance(value, dict):
        return {name: type(of).__name__ for name, of in value.items()}
    return type(value).__name__


async def _friends(ann: User, bob: User) -> None:
    body = {"user_id": bob.user_id, "message": "hi"}
    request = await ann.request("POST", "/v1/friends/requests", json=body)
    path = f"/v1/friends/requests/{request.json()['request_id']}/accept"
    assert (await bob.request("POST", path)).status_code == 204


class _Stage:
    """Ann and bob as they are here, for the ids that the examples name."""

    def __init__(self, ann: User, bob: User, group_id: int) -> None:
        self._ids = {1001: ann.user_id, 1002: bob.user_id}
        low, high = sorted(self._ids.values())
        self.conversation_id = f"s:{low}:{high}"
        self._group_id = group_id

    def frame(self, example: Frame, **more: str) -> Frame:
        """The example with the ids of here, and ``more`` in the place of its own."""
        frame = {**example, **{name: of for name, of in more.items() if name in example}}
        if "to" in frame:
            frame["to"] = self._ids[frame["to"]]
        if "group_id" in frame:
            frame["group_id"] = self._group_id
        if "mentions" in frame:
            frame["mentions"] = [self._ids[one] for one in frame["mentions"]]
        if "conversation_id" in frame:
            frame["conversation_id"] = self.conversation_id
        if "cursors" in frame:
            frame["cursors"] = {self.conversation_id: 0}
        return frame


async def _played(
    stage: _Stage, ann: Device, bob: Device, examples: Mapping[str, list[Frame]]
) -> str:
    """Sends what the examples of clients say, and waits for what comes of it. The message's id."""
    for chat in examples["chat"]:
        await ann.send(**stage.frame(chat))
    sent, *_ = await ann.wait_count("sent", 2)
    await bob.wait_count("message", 2)
    message_id = str(sent["message_id"])
    for kind in ("ack", "read", "sync"):
        await bob.send(**stage.frame(examples[kind][0]))
    await ann.wait_for(lambda frame: frame["type"] == "receipt" and frame["read_seq"] == 1)
    await bob.wait_count("sync", 1)
    for kind, answer in (("typing", "typing"), ("recall", "recalled")):
        await ann.send(**stage.frame(examples[kind][0], message_id=message_id))
        await bob.wait_count(answer, 1)
    await ann.send(**examples["ping"][0])
    await ann.wait_count("pong", 1)
    await ann.send(type="chat", to=2**40, content="x", client_msg_id="c-3")
    await ann.send(type="chat", to=1, client_msg_id="c-4")
    await ann.wait_count("error", 2)
    return message_id


async def test_the_examples_of_the_protocol_are_what_is_sent_and_answered(
    new_user: MakeUser, online: Connect
) -> None:
    ann, bob = await new_user(), await new_user()
    group_id = await make_group(ann, bob)
    # What waits for him.
    await _friends(ann, bob)
    on_bob = await online(bob, confirm=False)
    waited = await on_bob.wait_for(lambda frame: frame["type"] == "offline")
    await on_bob.send(type="offline_ack", batch_id=waited["batch_id"])
    on_ann = await online(ann, query="?device_id=phone")
    await on_bob.wait_count("presence", 1)
    by_type: dict[str, list[Frame]] = {}
    for frame in _examples("client"):
        by_type.setdefault(frame["type"], []).append(frame)
    assert set(by_type) == {
        "chat", "ack", "read", "recall", "typing", "sync", "offline_ack", "ping",
    }  # fmt: skip
    await _played(_Stage(ann, bob, group_id), on_ann, on_bob, by_type)
    assert (await ann.request("POST", "/v1/auth/logout")).status_code == 204
    assert await on_ann.wait_closed() == 4002
    came = [*on_ann.frames, *on_bob.frames, *waited["frames"]]
    for example in _examples("server"):
        _check(example, came)


def _check(example: Frame, came: list[Frame]) -> None:
    """What came of its type has its fields, of its types, and no others."""
    kind = example["type"]
    found = [frame for frame in came if frame["type"] == kind]
    if kind == "event":
        found = [frame for frame in found if frame["event"] == example["event"]]
        assert _shape(example["data"]) == _shape(found[0]["data"])
    assert found, f"no {kind} came"
    for frame in found:
        shape, shown = _shape(frame), _shape(example)
        if kind == "error":
            optional = {"retry_after_ms", "field"}
        else:
            optional = OPTIONAL if kind == "message" else set()
        assert {n: t for n, t in shape.items() if n not in optional} == {
            n: t for n, t in shown.items() if n not in optional
        }
        assert set(shape) <= set(shown) | optional
    if kind == "sync":
        assert _shape(example["conversations"][0]) == _shape(found[0]["conversations"][0])


async def test_a_message_that_was_sent_twice_is_one_as_the_protocol_says(
    new_user: MakeUser, online: Connect
) -> None:
    ann, bob = await new_user(), await new_user()
    device = await online(ann)
    first, again = [
        await device.ask(to=bob.user_id, content="hello", client_msg_id="c-1") for _ in range(2)
    ]
    assert first == again
