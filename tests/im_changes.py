"""Friends and groups that change all the time beside a load of messages, and the count of what is told
of it: each confirmed change once, in order, to everybody whom it concerns, and to nobody else."""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from im_ears import RETRY_S, Ears
from im_people import Device, Frame, User, make_group, register

from im_common.domain.ids import group_conversation
from im_local.testing import System

FAR = 2**52
# When nothing has come for so long, nothing will.
STANDSTILL_S = 30.0
# What a client tries again: any other error is an answer.
AGAIN = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RATE_LIMITED"}

# The name of an event, and some of its data.
Wanted = tuple[str, dict[str, Any]]


@dataclass
class Hearer:
    """A user with a device that is always on and a phone that comes and goes."""

    user: User
    # Whether the user has no other device.
    is_alone: bool = False
    steady: Ears = field(default_factory=Ears)
    phone: Ears = field(default_factory=Ears)
    # What is to be heard, in order: of friend-service and of group-service, who know nothing of
    # each other.
    wanted: list[Wanted] = field(default_factory=list)

    def expect(self, event: str, **data: Any) -> None:
        self.wanted.append((event, data))

    @property
    def heard(self) -> dict[str, Frame]:
        """By event_id; what one device missed, another one had."""
        return {event["event_id"]: event for ears in self.all for event in ears.events}

    @property
    def all(self) -> tuple[Ears, ...]:
        return self.steady, self.phone

    def missing(self) -> list[Wanted]:
        """What nobody heard."""
        return self._compare()[0]

    def check(self, *, gaps: bool, anywhere: bool, around_lists: bool) -> None:
        """``gaps``: connections may have broken with something on its way that nobody has read."""
        who = self.user.user_id
        for ears in self.all:
            assert ears.repeated == [], (who, ears.repeated[:3])
            for of_group in (True, False):
                wanted = [one for one in self.wanted if _is_of_group(one[0]) is of_group]
                _check_order(
                    ears,
                    wanted,
                    of_group=of_group,
                    gaps_anywhere=anywhere,
                    gaps_around_lists=around_lists,
                )
        missing, others = self._compare()
        assert others == [], (who, others[:3])
        if self.is_alone and not gaps:
            assert missing == [], (who, len(self.wanted), missing[:3])

    def _compare(self) -> tuple[list[Wanted], list[Frame]]:
        """What was wanted and not heard, and what was heard and not wanted."""
        heard, missing = list(self.heard.values()), []
        for wanted in self.wanted:
            place = next((n for n, event in enumerate(heard) if _is(event, wanted)), None)
            if place is None:
                missing.append(wanted)
            else:
                del heard[place]
        return missing, heard


@dataclass
class Group:
    """A group to be changed, while others may write to it."""

    group_id: int
    owner: User
    member: User
    # What its history says of it, in order; first, that it was made.
    said: list[dict[str, Any]]
    # client_msg_id -> (seq, message_id), of the messages that are written here.
    placed: dict[str, tuple[int, str]] = field(default_factory=dict)


async def made_group(owner: User, member: User) -> Group:
    said = {"event": "group_created", "name": "team"}
    return Group(await make_group(owner, member), owner, member, [said])


@dataclass
class Team:
    """Who hears of the changes of a group, and one more user who comes and goes."""

    group: Group
    owner: Hearer
    member: Hearer
    guest: Hearer
    # Messages, and how much was said before each was written.
    marks: list[tuple[int, int]] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"/v1/groups/{self.group.group_id}"

    def say(self, event: str, **more: Any) -> None:
        self.group.said.append({"event": event, **more})


class Changes:
    """While they are ``running``, until ``finish``; then the ``check``."""

    def __init__(self, system: System, http: httpx.AsyncClient) -> None:
        self._system = system
        self._http = http
        self._going = True
        self._hearers: list[Hearer] = []
        self._teams: list[Team] = []
        self._listening: list[asyncio.Task[None]] = []
        self._changing: list[asyncio.Task[None]] = []
        self.count = 0

    @asynccontextmanager
    async def running(self, groups: Sequence[Group]) -> AsyncIterator[None]:
        """No user is named twice. Whatever happens in the block, all ends with it."""
        try:
            await self._start(groups)
            yield
        finally:
            tasks = [*self._changing, *self._listening]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(self, groups: Sequence[Group]) -> None:
        self._walker = await register(self._http)
        guests = [self._hearer(await register(self._http), is_alone=True) for _ in (0, 1)]
        self._watched = guests[0]
        for group, guest in zip(groups, guests, strict=False):
            owner, member = self._hearer(group.owner), self._hearer(group.member)
            member.expect("GroupInvited")
            self._teams.append(Team(group, owner, member, guest))
        for hearer in self._hearers:
            await hearer.steady.is_open.wait()
        doing = [self._befriend(*guests), *map(self._regroup, self._teams)]
        self._changing = [asyncio.create_task(one) for one in doing]

    async def finish(self) -> None:
        """Ends the changes: all are confirmed."""
        self._going = False
        await asyncio.gather(*self._changing)

    async def check(self, *, gaps: bool = False, anywhere: bool = False) -> None:
        """Waits until all is told, and counts. ``gaps``: connections may have broken with something on
        its way that nobody has read; ``anywhere``: and it was missed by a gateway that was given up."""
        await self._until_heard()
        await self._check_presence()
        # What a gateway could not send to a phone that left it is in the list, also when another one
        # has the user's other device; what came until the phone was back is not, as that had it.
        around_lists = len(self._system.ready.ws_gateways) > 1
        for hearer in self._hearers:
            hearer.check(gaps=gaps, anywhere=anywhere, around_lists=around_lists)
        for team in self._teams:
            await _check_history(team)

    def _hearer(self, user: User, *, is_alone: bool = False) -> Hearer:
        hearer, ws = Hearer(user, is_alone), self._system.any_ws
        coming_and_going = hearer.phone.listen(ws, user, lambda: random.uniform(0.5, 3))
        for listening in (hearer.steady.listen(ws, user), coming_and_going):
            self._listening.append(asyncio.create_task(listening))
        self._hearers.append(hearer)
        return hearer

    async def _until_heard(self) -> None:
        """As long as anything comes."""
        state, since = -1, time.monotonic()
        alone = [hearer for hearer in self._hearers if hearer.is_alone]
        while any(hearer.missing() for hearer in alone):
            if (now := sum(len(hearer.heard) for hearer in alone)) != state:
                state, since = now, time.monotonic()
            if time.monotonic() > since + STANDSTILL_S:
                return
            await asyncio.sleep(RETRY_S)

    async def _check_presence(self) -> None:
        """Of a friend who was never here before."""
        ears, walker = self._watched.steady, self._walker.user_id
        async with await Device.connect(self._system.any_ws(), self._walker):
            async with asyncio.timeout(STANDSTILL_S):
                while not any(p["user_id"] == walker and p["online"] for p in ears.presences):
                    await asyncio.sleep(RETRY_S)

    # --- two users --------------------------------------------------------------------------------

    async def _befriend(self, a: Hearer, b: Hearer) -> None:
        request_id = await self._ask(self._walker, a)
        await self._accept(request_id, a, None, self._walker)
        while self._going:
            await self._ask_and(self._cancel, a, b)
            await self._ask_and(self._reject, a, b)
            await self._befriended(b, a)
            await self._do(a.user, "DELETE", f"/v1/friends/{b.user.user_id}")
            _both(a, b, lambda one, other: one.expect("FriendDeleted", user_id=other))
            await self._befriended(a, b)
            await self._block_friend(a, b)
            await self._block_asker(b, a)
        await self._befriended(a, b)

    async def _ask(self, asker: User, asked: Hearer) -> int:
        body = {"user_id": asked.user.user_id, "message": "hello"}
        response = await self._do(asker, "POST", "/v1/friends/requests", body, but=[409])
        if response.status_code == 409:
            # Its answer was lost.
            path = "/v1/friends/requests?direction=out"
            items = (await self._do(asker, "GET", path)).json()["items"]
            (request_id,) = [i["request_id"] for i in items if i["to_user_id"] == body["user_id"]]
        else:
            request_id = response.json()["request_id"]
        asked.expect("NewFriendRequest", request_id=request_id, from_user_id=asker.user_id)
        return int(request_id)

    async def _ask_and(
        self, end: Callable[[int, Hearer, Hearer], Awaitable[None]], a: Hearer, b: Hearer
    ) -> None:
        await end(await self._ask(a.user, b), a, b)

    async def _cancel(self, request_id: int, a: Hearer, b: Hearer) -> None:
        await self._do(a.user, "DELETE", f"/v1/friends/requests/{request_id}")
        b.expect("FriendRequestCancelled", request_id=request_id, from_user_id=a.user.user_id)

    async def _reject(self, request_id: int, a: Hearer, b: Hearer) -> None:
        await self._do(b.user, "POST", f"/v1/friends/requests/{request_id}/reject")
        a.expect("FriendRejected", request_id=request_id, user_id=b.user.user_id)

    async def _befriended(self, a: Hearer, b: Hearer) -> None:
        await self._accept(await self._ask(a.user, b), b, a, a.user)

    async def _accept(self, request_id: int, b: Hearer, a: Hearer | None, asker: User) -> None:
        await self._do(b.user, "POST", f"/v1/friends/requests/{request_id}/accept")
        b.expect("FriendAccepted", request_id=request_id, user_id=asker.user_id)
        if a is not None:
            a.expect("FriendAccepted", request_id=request_id, user_id=b.user.user_id)

    async def _block_friend(self, a: Hearer, b: Hearer) -> None:
        path = f"/v1/blocks/{b.user.user_id}"
        await self._do(a.user, "PUT", path)
        a.expect("BlockListChanged", user_id=b.user.user_id, blocked=True)
        _both(a, b, lambda one, other: one.expect("FriendDeleted", user_id=other))
        body = {"user_id": a.user.user_id}
        await self._refused("BLOCKED", b.user, "POST", "/v1/friends/requests", body)
        await self._do(a.user, "DELETE", path)
        a.expect("BlockListChanged", user_id=b.user.user_id, blocked=False)

    async def _block_asker(self, a: Hearer, b: Hearer) -> None:
        request_id = await self._ask(b.user, a)
        path = f"/v1/blocks/{b.user.user_id}"
        await self._do(a.user, "PUT", path)
        a.expect("BlockListChanged", user_id=b.user.user_id, blocked=True)
        b.expect("FriendRejected", request_id=request_id, user_id=a.user.user_id)
        on = f"/v1/friends/requests/{request_id}/accept"
        await self._refused("FAILED_PRECONDITION", a.user, "POST", on)
        await self._do(a.user, "DELETE", path)
        a.expect("BlockListChanged", user_id=b.user.user_id, blocked=False)

    # --- a group ----------------------------------------------------------------------------------

    async def _regroup(self, team: Team) -> None:
        for number in itertools.count(1):
            if not self._going:
                break
            await self._invite(team)
            await self._set(team, "role_changed", role="admin")
            await self._set(team, "role_changed", role="member")
            await self._mute_guest(team)
            await self._rename(team, f"team {number}", [team.owner, team.member, team.guest])
            await self._mute_all(team)
            await self._end_membership(team, leaves=number % 2 == 0)
        await self._invite(team)
        await self._rename(team, "last", [team.owner, team.member, team.guest])

    async def _invite(self, team: Team) -> None:
        guest = team.guest.user.user_id
        body = {"user_ids": [guest]}
        await self._do(team.owner.user, "POST", f"{team.path}/members", body)
        team.say("members_added", user_ids=[guest])
        team.guest.expect("GroupInvited", by=team.owner.user.user_id)
        await self._mark(team)

    async def _set(self, team: Team, event: str, **change: Any) -> None:
        guest = team.guest.user.user_id
        await self._do(team.owner.user, "PATCH", f"{team.path}/members/{guest}", change)
        team.say(event, user_id=guest, **change)

    async def _mute_guest(self, team: Team) -> None:
        await self._set(team, "member_muted", muted_until=FAR)
        await self._refused("MUTED", team.guest.user, "POST", "/v1/messages", _message(team))
        await self._set(team, "member_muted", muted_until=0)
        member = f"{team.path}/members/{team.member.user.user_id}"
        await self._refused("PERMISSION_DENIED", team.guest.user, "DELETE", member)

    async def _rename(self, team: Team, name: str, told: Collection[Hearer]) -> None:
        await self._do(team.owner.user, "PATCH", team.path, {"name": name})
        team.say("group_updated", name=name)
        for hearer in told:
            hearer.expect("GroupUpdated", name=name)

    async def _mute_all(self, team: Team) -> None:
        for muted in (True, False):
            await self._do(team.owner.user, "POST", f"{team.path}/mute", {"muted": muted})
            team.say("group_muted", muted=muted)
            for hearer in (team.owner, team.member, team.guest):
                hearer.expect("GroupUpdated", muted=muted)
            if muted:
                await self._refused(
                    "MUTED", team.guest.user, "POST", "/v1/messages", _message(team)
                )

    async def _end_membership(self, team: Team, *, leaves: bool) -> None:
        guest, by = team.guest.user.user_id, team.owner.user
        if leaves:
            # Once more, when the answer was lost, they are a member no longer.
            await self._do(team.guest.user, "POST", f"{team.path}/leave", but=[403])
            team.say("member_left", user_id=guest)
        else:
            await self._do(by, "DELETE", f"{team.path}/members/{guest}", but=[404])
            team.say("member_removed", user_id=guest)
            team.guest.expect("GroupRemoved", by=by.user_id)
        await self._mark(team)
        message = _message(team)
        await self._refused("NOT_GROUP_MEMBER", team.guest.user, "POST", "/v1/messages", message)

    async def _mark(self, team: Team) -> None:
        """A message that is written after the last change was confirmed."""
        message, before = _message(team), len(team.group.said)
        place = (await self._do(team.owner.user, "POST", "/v1/messages", message)).json()
        team.group.placed[message["client_msg_id"]] = place["seq"], place["message_id"]
        team.marks.append((place["seq"], before))

    # --- over HTTP --------------------------------------------------------------------------------

    async def _do(
        self,
        user: User,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        but: Collection[int] = (),
    ) -> httpx.Response:
        """Until it is done, or refused with one of the statuses ``but`` after a lost answer."""
        tried = False
        while True:
            response = await self._try(user, method, path, body)
            if response is not None and response.status_code < 300:
                self.count += 1
                return response
            if response is not None and _code(response) not in AGAIN:
                what = f"{method} {path}: {response.status_code} {response.text}"
                assert tried, what
                assert response.status_code in but, what
                return response
            tried = True
            await asyncio.sleep(RETRY_S)

    async def _refused(
        self, code: str, user: User, method: str, path: str, body: dict[str, Any] | None = None
    ) -> None:
        """Nothing is told of that."""
        while True:
            response = await self._try(user, method, path, body)
            if response is not None and _code(response) not in AGAIN:
                assert _code(response) == code, f"{method} {path}: {response.text}"
                return
            await asyncio.sleep(RETRY_S)

    @staticmethod
    async def _try(
        user: User, method: str, path: str, body: dict[str, Any] | None
    ) -> httpx.Response | None:
        """None when there was no answer."""
        try:
            return await user.request(method, path, **({} if body is None else {"json": body}))
        except httpx.HTTPError:
            return None


def _code(response: httpx.Response) -> str:
    return str(response.json()["code"]) if response.status_code >= 400 else ""


def _message(team: Team) -> dict[str, Any]:
    return {"group_id": team.group.group_id, "content": "x", "client_msg_id": secrets.token_hex(8)}


def _both(a: Hearer, b: Hearer, tell: Callable[[Hearer, int], None]) -> None:
    tell(a, b.user.user_id)
    tell(b, a.user.user_id)


def _is_of_group(event: str) -> bool:
    return event.startswith("Group")


def _is(event: Frame, wanted: Wanted) -> bool:
    name, data = wanted
    return bool(event["event"] == name and data.items() <= event["data"].items())


def _check_order(
    ears: Ears,
    wanted: Sequence[Wanted],
    *,
    of_group: bool,
    gaps_anywhere: bool,
    gaps_around_lists: bool,
) -> None:
    """What a device heard is wanted, in that order; what is left out came while the device was away, so
    between two connections. Some are alike: all that it may be is followed."""
    places, last = [-1], (0, False)
    heard = zip(ears.events, ears.connections, ears.were_listed, strict=True)
    for event, connection, was_listed in heard:
        if _is_of_group(event["event"]) is not of_group:
            continue
        is_without_gap = connection == last[0] and not gaps_anywhere
        if gaps_around_lists and (was_listed or last[1]):
            is_without_gap = False
        if is_without_gap:
            after = [place + 1 for place in places]
        else:
            after = list(range(places[0] + 1, len(wanted)))
        before = places
        places = [one for one in after if one < len(wanted) and _is(event, wanted[one])]
        if not places:
            expected = [wanted[one + 1 : one + 4] for one in before[:3]]
            raise AssertionError(f"{event}, but wanted was {expected}; the last was {last}")
        last = connection, was_listed


async def _check_history(team: Team) -> None:
    """Each change has its one message, before what was written after it was confirmed; all members have
    the same history; who was no member has nothing of the time."""
    conversation_id = group_conversation(team.group.group_id)
    whole = await team.owner.user.history(conversation_id)
    system = [message for message in whole if message["content_type"] == "system"]
    told = [message["ext"] for message in system]
    wrong = [pair for pair in itertools.zip_longest(told, team.group.said) if pair[0] != pair[1]]
    assert not wrong, wrong[:3]
    for seq, before in team.marks:
        assert system[before - 1]["seq"] < seq, (system[before - 1], "after", seq)
    of_member = await team.member.user.history(conversation_id)
    assert [m["message_id"] for m in of_member] == [m["message_id"] for m in whole]
    guest, visible = team.guest, set[int]()
    for message in system:
        ext = message["ext"]
        if guest.user.user_id in ext.get("user_ids", ()):
            joined = message["seq"]
        elif ext["event"] in ("member_removed", "member_left"):
            visible |= set(range(joined, message["seq"]))
    now = [m["seq"] for m in await guest.user.history(conversation_id, after_seq=0)]
    assert now == list(range(joined, whole[-1]["seq"] + 1)), (joined, now[:1], now[-1:])
    for ears in guest.all:
        got = ears.seqs.get(conversation_id, set())
        assert got <= visible | set(now), sorted(got - visible - set(now))
