"""Groups over HTTP and WebSocket: who may do what, what the history says of it, who sees what."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from im_people import Connect, Device, Frame, MakeUser, User, make_group

from im_common.testing.waiting import eventually

ROLES = ("owner", "admin", "member")
FAR = 2**52

# What is done to a member, and which roles each role may do it to.
TO_MEMBERS: dict[str, dict[str, tuple[str, ...]]] = {
    "remove": {"owner": ("admin", "member"), "admin": ("member",), "member": ()},
    "mute": {"owner": ("admin", "member"), "admin": ("member",), "member": ()},
    "role": {"owner": ("admin", "member"), "admin": (), "member": ()},
    "transfer": {"owner": ("admin", "member"), "admin": (), "member": ()},
}
# What is done to the group, and who may.
TO_GROUP: dict[str, tuple[str, ...]] = {
    "invite": ("owner", "admin"),
    "invite_to_open": ROLES,
    "update": ("owner", "admin"),
    "mute_group": ("owner", "admin"),
    "requests": ("owner", "admin"),
    "leave": ("admin", "member"),
    "dismiss": ("owner",),
}


@dataclass
class Team:
    """A group with two of each role but the owner's."""

    group_id: int
    owner: User
    admin: User
    member: User
    other_admin: User
    other_member: User

    @property
    def path(self) -> str:
        return f"/v1/groups/{self.group_id}"

    def of(self, role: str) -> User:
        return getattr(self, role)  # type: ignore[no-any-return]

    def target(self, role: str) -> User:
        """Another one than ``of`` where there is one."""
        return self.owner if role == "owner" else self.of(f"other_{role}")

    async def act(self, what: str, user: User, target: User | None = None) -> httpx.Response:
        on = f"{self.path}/members/{target.user_id if target else 0}"
        body: dict[str, tuple[str, str, Any]] = {
            "remove": ("DELETE", on, None),
            "mute": ("PATCH", on, {"muted_until": FAR}),
            "role": ("PATCH", on, {"role": "admin"}),
            "transfer": ("POST", f"{self.path}/transfer", {"user_id": target and target.user_id}),
            "invite": ("POST", f"{self.path}/members", {"user_ids": [self.member.user_id]}),
            "invite_to_open": ("POST", f"{self.path}/members", {"user_ids": [1]}),
            "update": ("PATCH", self.path, {"announcement": "hello"}),
            "mute_group": ("POST", f"{self.path}/mute", {"muted": True}),
            "requests": ("GET", f"{self.path}/requests", None),
            "leave": ("POST", f"{self.path}/leave", None),
            "dismiss": ("DELETE", self.path, None),
        }
        method, path, sent = body[what]
        return await user.request(method, path, **({} if sent is None else {"json": sent}))


async def _team(new_user: MakeUser, people: list[User] | None = None) -> Team:
    users = people or [await new_user() for _ in range(5)]
    team = Team(await make_group(*users), *users)
    for admin in (team.admin, team.other_admin):
        await _done(team.act("role", team.owner, admin))
    return team


async def _done(answer: Any) -> None:
    response = await answer
    assert response.status_code in (200, 204), response.text


def _problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def _messages(device: Device) -> list[Frame]:
    return [frame for frame in device.received() if frame["type"] == "message"]


async def _events(device: Device, count: int) -> list[Any]:
    """What the system has said in a group, as a device got it."""

    def said() -> list[Frame]:
        return [f for f in _messages(device) if f["content_type"] == "system"]

    await device.wait_for(lambda _: len(said()) >= count)
    return [frame["ext"] for frame in said()]


async def test_each_role_does_to_each_what_it_may_and_no_more(new_user: MakeUser) -> None:
    people = [await new_user() for _ in range(5)]
    for what, rights in TO_MEMBERS.items():
        for role in ROLES:
            for target in ROLES:
                team = await _team(new_user, people)
                response = await team.act(what, team.of(role), team.target(target))
                cell = (what, role, target, response.text)
                if team.of(role) is team.target(target):
                    assert _problem(response) == (400, "INVALID_ARGUMENT"), cell
                elif target in rights[role]:
                    assert response.status_code == 204, cell
                else:
                    assert _problem(response) == (403, "PERMISSION_DENIED"), cell


async def test_each_role_does_to_the_group_what_it_may_and_no_more(new_user: MakeUser) -> None:
    people, stranger = [await new_user() for _ in range(5)], await new_user()
    for what, rights in TO_GROUP.items():
        for role in ROLES:
            team = await _team(new_user, people)
            if what == "invite_to_open":
                await _done(team.owner.request("PATCH", team.path, json={"join_policy": "open"}))
            response = await team.act(what, team.of(role))
            cell = (what, role, response.text)
            if what == "invite_to_open":
                # Nobody has the id 1: it came that far.
                assert _problem(response) == (404, "NOT_FOUND"), cell
            elif role in rights:
                assert response.status_code in (200, 204), cell
            elif what == "leave":
                assert _problem(response) == (409, "FAILED_PRECONDITION"), cell
            else:
                assert _problem(response) == (403, "PERMISSION_DENIED"), cell
        team = await _team(new_user, people)
        assert _problem(await team.act(what, stranger)) == (403, "NOT_GROUP_MEMBER"), what


async def test_who_is_removed_gets_nothing_that_is_written_after(
    new_user: MakeUser, online: Connect
) -> None:
    owner, bob, eve = [await new_user() for _ in range(3)]
    group_id = await make_group(owner, bob, eve)
    device, of_bob = await online(owner), await online(bob)
    conversation = f"g:{group_id}"
    assert (await device.ask(group_id=group_id, content="before"))["seq"] == 2
    # Who has just come may get it with what was before.
    await of_bob.wait_received(2)
    await _done(owner.request("DELETE", f"/v1/groups/{group_id}/members/{bob.user_id}"))
    assert (await device.ask(group_id=group_id, content="after"))["seq"] == 4
    removed = {"group_id": group_id, "by": owner.user_id}
    told = await of_bob.wait_for(lambda f: f.get("event") == "GroupRemoved")
    assert told["data"] == removed
    refused = await of_bob.ask(group_id=group_id, content="x")
    assert refused["code"] == "NOT_GROUP_MEMBER"
    laptop = await online(bob)
    await laptop.send(type="sync", cursors={})
    synced = await laptop.wait_for(lambda f: f["type"] == "sync")
    [delta] = synced["conversations"]
    assert [m["seq"] for m in delta["messages"]] == [1, 2]
    assert [m["seq"] for m in await bob.history(conversation)] == [1, 2]
    assert (await bob.get("/v1/conversations"))["items"] == []
    assert (await bob.get("/v1/unread"))["conversations"] == {}
    assert (await bob.get("/v1/messages/search", q="after"))["items"] == []
    for seen in (of_bob, laptop):
        assert all(frame["seq"] <= 2 for frame in _messages(seen))
    assert [m["seq"] for m in await eve.history(conversation)] == [1, 2, 3, 4]


async def test_a_change_lies_among_the_messages(new_user: MakeUser, online: Connect) -> None:
    owner, bob, eve = [await new_user() for _ in range(3)]
    group_id = await make_group(owner, bob)
    path = f"/v1/groups/{group_id}"
    of_owner, of_bob, of_eve = [await online(user) for user in (owner, bob, eve)]
    assert (await of_bob.ask(group_id=group_id, content="secret"))["seq"] == 2
    await _done(owner.request("POST", f"{path}/members", json={"user_ids": [eve.user_id]}))
    await _done(owner.request("POST", f"{path}/mute", json={"muted": True}))
    assert (await of_bob.ask(group_id=group_id, content="x"))["code"] == "MUTED"
    assert (await of_owner.ask(group_id=group_id, content="hush"))["seq"] == 5
    await _done(owner.request("POST", f"{path}/mute", json={"muted": False}))
    on_bob = f"{path}/members/{bob.user_id}"
    await _done(owner.request("PATCH", on_bob, json={"muted_until": FAR}))
    assert (await of_bob.ask(group_id=group_id, content="x"))["code"] == "MUTED"
    await _done(owner.request("PATCH", on_bob, json={"muted_until": 0}))
    assert (await of_bob.ask(group_id=group_id, content="back"))["seq"] == 9
    await _done(bob.request("POST", f"{path}/leave"))
    said = await _events(of_eve, 6)
    assert said == [
        {"event": "members_added", "user_ids": [eve.user_id]},
        {"event": "group_muted", "muted": True},
        {"event": "group_muted", "muted": False},
        {"event": "member_muted", "user_id": bob.user_id, "muted_until": FAR},
        {"event": "member_muted", "user_id": bob.user_id, "muted_until": 0},
        {"event": "member_left", "user_id": bob.user_id},
    ]
    history = await eve.history(f"g:{group_id}")
    assert [m["seq"] for m in history] == list(range(3, 11))
    assert (history[0]["from"], history[-1]["from"]) == (owner.user_id, bob.user_id)
    invited = await of_eve.wait_for(lambda f: f.get("event") == "GroupInvited")
    assert invited["data"] == {"group_id": group_id, "name": "team", "by": owner.user_id}
    sent = {"group_id": group_id, "content": "", "content_type": "system", "ext": {"event": "x"}}
    refused = await of_owner.ask(**sent)
    assert (refused["code"], refused["field"]) == ("INVALID_ARGUMENT", "content_type")


async def test_the_history_of_a_dismissed_group_stays(new_user: MakeUser, online: Connect) -> None:
    owner, bob = await new_user(), await new_user()
    group_id = await make_group(owner, bob)
    of_bob = await online(bob)
    await _done(owner.request("DELETE", f"/v1/groups/{group_id}"))
    await of_bob.wait_for(lambda f: f.get("event") == "GroupDismissed")
    assert (await _events(of_bob, 2))[-1] == {"event": "group_dismissed"}
    assert (await of_bob.ask(group_id=group_id, content="x"))["code"] == "NOT_FOUND"
    assert [m["seq"] for m in await bob.history(f"g:{group_id}")] == [1, 2]
    assert (await bob.get("/v1/groups"))["items"] == []


async def test_joining_by_request(new_user: MakeUser, online: Connect) -> None:
    owner, bob = await new_user(), await new_user()
    group_id = await make_group(owner)
    path = f"/v1/groups/{group_id}"
    of_owner, of_bob = await online(owner), await online(bob)
    response = await bob.request("POST", f"{path}/join", json={"message": "hi"})
    request_id = response.json()["request_id"]
    assert response.json() == {"joined": False, "request_id": request_id}
    asked = await of_owner.wait_for(lambda f: f.get("event") == "GroupJoinRequested")
    assert (asked["data"]["user_id"], asked["data"]["message"]) == (bob.user_id, "hi")
    [shown] = (await owner.get(f"{path}/requests"))["items"]
    assert (shown["request_id"], shown["username"]) == (request_id, bob.username)
    await _done(owner.request("POST", f"{path}/requests/{request_id}/accept"))
    await of_bob.wait_for(lambda f: f.get("event") == "GroupJoinHandled")
    assert (await _events(of_bob, 1))[0]["event"] == "member_joined"
    sent = await of_bob.ask(group_id=group_id, content="here")
    await owner.request("POST", f"/v1/conversations/g:{group_id}/read", json={"seq": sent["seq"]})
    readers = (await bob.get(f"{path}/readers", seq=sent["seq"]))["items"]
    assert [reader["user_id"] for reader in readers] == [owner.user_id]
    response = await owner.request("GET", f"{path}/readers", params={"seq": sent["seq"]})
    assert _problem(response) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("number", range(3))
async def test_admins_who_remove_each_other_at_once_leave_a_lawful_group(
    new_user: MakeUser, number: int
) -> None:
    team = await _team(new_user)
    acts = [
        team.act("transfer", team.owner, team.admin),
        team.act("leave", team.owner),
        team.act("remove", team.owner, team.admin),
        team.act("remove", team.admin, team.member),
        team.act("leave", team.other_admin),
        team.act("transfer", team.owner, team.other_member),
    ]
    await asyncio.gather(*acts[number:], *acts[:number])
    lists = []
    for user in (team.other_member, team.owner, team.admin):
        response = await user.request("GET", f"{team.path}/members")
        if response.status_code == 200:
            lists.append(response.json()["items"])
    roles = [member["role"] for member in lists[0]]
    assert roles.count("owner") == 1
    group = await team.other_member.get(team.path)
    [owner] = [member["user_id"] for member in lists[0] if member["role"] == "owner"]
    assert (group["owner_id"], group["member_count"]) == (owner, len(roles))

    async def is_told() -> bool:
        history = await team.other_member.history(f"g:{team.group_id}")
        return [m["seq"] for m in history] == list(range(1, len(history) + 1)) and bool(history)

    await eventually(is_told)
