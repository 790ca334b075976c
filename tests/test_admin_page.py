"""The operators' page, as a browser asks for it and in a browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import uuid_utils
from im_browser import Visitor, chromium
from im_clients import People
from im_instances import one_more
from im_operator import bury, message, operator_of
from im_people import PASSWORD, Connect, MakeUser, User, make_group, register, single
from playwright.async_api import expect

from im_admin import accounts, dead_letters
from im_admin.audit import list_deeds
from im_admin.operator import Operator
from im_common.domain.ids import now_ms
from im_common.testing.ports import free_port
from im_common.testing.waiting import eventually
from im_local.testing import System

MARKUP = "<b>bold</b><script>alert(1)</script>"
FROM_PAGE = {"sec-fetch-site": "same-origin"}


@pytest.fixture
async def tool(system: System) -> AsyncIterator[Operator]:
    """Somebody with im-admin."""
    async with operator_of(system, "tool") as operator:
        yield operator


@asynccontextmanager
async def page_at(address: str) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at the page, with cookies of its own."""
    at = f"http://{address}"
    async with httpx.AsyncClient(base_url=at, timeout=20, headers=FROM_PAGE) as browser:
        yield browser


@pytest.fixture
async def page(system: System) -> AsyncIterator[httpx.AsyncClient]:
    async with page_at(system.ready.dev["api-gateway"]) as browser:
        yield browser


@pytest.fixture
async def elsewhere(system: System, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at the page of another gateway of the same system."""
    own = {
        "IM_HTTP__LISTEN_ON": f"127.0.0.1:{free_port()}",
        "IM_DEV_SERVER__PORT": str(free_port()),
    }
    address = f"127.0.0.1:{own['IM_DEV_SERVER__PORT']}"
    async with one_more(system, "api-gateway", tmp_path / "api.log", own), page_at(address) as page:

        async def is_ready() -> bool:
            with suppress(httpx.TransportError):
                return (await page.get("/readyz")).status_code == 200
            return False

        await eventually(is_ready, within_s=60)
        yield page


async def log_in(page: httpx.AsyncClient, user: User) -> httpx.Response:
    form = {"username": user.username, "password": PASSWORD}
    return await page.post("/admin/login", data=form)


@pytest.fixture
async def admin(page: httpx.AsyncClient, new_user: MakeUser, tool: Operator) -> User:
    """Who has the role, and is logged in at ``page``."""
    user = await new_user()
    await accounts.set_admin(tool, user.username, admin=True)
    assert (await log_in(page, user)).status_code == 303
    return user


async def deeds_of(tool: Operator, who: str) -> list[tuple[str, str, str, str]]:
    found = await list_deeds(tool, who=who)
    return [(d["action"], d["target"], d["reason"], d["outcome"]) for d in found]


async def test_only_the_role_opens_the_page_and_for_as_long_as_it_lasts(
    page: httpx.AsyncClient, new_user: MakeUser, tool: Operator
) -> None:
    user = await new_user()
    answer = await page.get("/admin/users")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/login")
    answer = await log_in(page, user)
    assert (answer.status_code, "admin role" in answer.text) == (403, True)
    assert "set-cookie" not in answer.headers
    wrong = {"username": user.username, "password": "no password of theirs"}
    assert (await page.post("/admin/login", data=wrong)).status_code == 401

    await accounts.set_admin(tool, user.username, admin=True)
    cookie = (await log_in(page, user)).headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/admin"))
    assert (await page.get("/admin/users")).status_code == 200
    await accounts.set_admin(tool, user.username, admin=False)
    answer = await page.get("/admin/users")
    assert (answer.status_code, "<table>" in answer.text) == (403, False)
    assert [deed[0] for deed in await deeds_of(tool, user.username)] == ["page log in"]


async def test_a_session_ends_by_log_out_and_by_its_end_elsewhere(
    system: System, page: httpx.AsyncClient, admin: User, tool: Operator
) -> None:
    token = page.cookies["im_admin"]
    assert (await page.post("/admin/logout")).status_code == 303
    page.cookies.set("im_admin", token, path="/admin")
    assert (await page.get("/admin")).status_code == 401

    assert (await log_in(page, admin)).status_code == 303
    await accounts.end_sessions(tool, admin.username)
    assert (await page.get("/admin")).status_code == 401
    # A client's own session, by its tokens, is none of the page.
    for own in (admin.access_token, admin.refresh_token, "nothing"):
        page.cookies.set("im_admin", own, path="/admin")
        assert (await page.get("/admin")).status_code == 401


async def test_one_session_is_good_at_every_gateway_and_ends_at_all_of_them(
    page: httpx.AsyncClient,
    elsewhere: httpx.AsyncClient,
    admin: User,
    new_user: MakeUser,
    tool: Operator,
) -> None:
    """As behind a proxy that leads each request to another one."""
    victim = await new_user()
    elsewhere.cookies = page.cookies
    assert "no answer" not in (await elsewhere.get("/admin")).text
    path = f"/admin/users/{victim.user_id}"
    assert (await elsewhere.post(path, data={"do": "disable"})).status_code == 303
    assert 'value="enable"' in (await page.get(path)).text
    assert (await page.post(path, data={"do": "enable"})).status_code == 303
    did = [(deed[0], deed[1]) for deed in await deeds_of(tool, admin.username)]
    user = f"user {victim.user_id}"
    assert did == [
        ("users enable", user),
        ("users disable", user),
        ("page log in", f"user {admin.user_id}"),
    ]
    token = page.cookies["im_admin"]
    assert (await elsewhere.post("/admin/logout")).status_code == 303
    page.cookies.set("im_admin", token, path="/admin")
    assert (await page.get("/admin")).status_code == 401


async def test_what_another_site_sends_is_refused(
    system: System, page: httpx.AsyncClient, admin: User, new_user: MakeUser, tool: Operator
) -> None:
    victim = await new_user()
    path, form = f"/admin/users/{victim.user_id}", {"do": "disable"}
    host = system.ready.dev["api-gateway"]
    del page.headers["sec-fetch-site"]
    for headers in (
        {},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "origin": f"http://{host}"},
    ):
        answer = await page.post(path, data=form, headers=headers)
        assert (answer.status_code, headers) == (403, headers)
    assert not (await accounts.get_user(tool, victim.username))["disabled"]
    # A browser that does not say more.
    answer = await page.post(path, data=form, headers={"origin": f"http://{host}"})
    assert answer.status_code == 303
    assert (await accounts.get_user(tool, victim.username))["disabled"]


async def test_each_change_is_in_the_audit_log_under_the_name_of_the_account(
    http: httpx.AsyncClient,
    page: httpx.AsyncClient,
    admin: User,
    new_user: MakeUser,
    online: Connect,
    tool: Operator,
) -> None:
    ann, bob = await new_user(), await new_user()
    group_id = await make_group(ann, bob)
    device = await online(ann)
    path = f"/admin/users/{ann.user_id}"
    shown = (await page.get(path)).text
    assert ann.session_id[:8] in shown

    assert (await page.post(path, data={"do": "disable"})).status_code == 303
    assert await device.wait_closed(limit_s=5) == 4002
    assert ann.username in (await page.get("/admin/users", params={"disabled": "on"})).text
    assert (await page.post(path, data={"do": "enable"})).status_code == 303
    assert (await page.post(path, data={"do": "end"})).status_code == 303
    assert (await page.post(path, data={"do": "fly"})).status_code == 400
    group = f"/admin/groups/{group_id}"
    assert (await page.post(group, data={"do": "dismiss"})).status_code == 400
    assert (await page.post(group, data={"do": "dismiss", "sure": "yes"})).status_code == 303
    assert (await page.post(path, data={"do": "delete"})).status_code == 400
    assert (await page.post(path, data={"do": "delete", "sure": "yes"})).status_code == 303
    assert (await page.post(path, data={"do": "enable"})).status_code == 404

    user = f"user {ann.user_id}"
    assert await deeds_of(tool, admin.username) == [
        ("users enable", user, "", "NOT_FOUND"),
        ("users delete", user, "", "ok"),
        ("groups dismiss", f"group {group_id}", "", "ok"),
        ("sessions end", user, "", "ok"),
        ("users enable", user, "", "ok"),
        ("users disable", user, "", "ok"),
        ("page log in", f"user {admin.user_id}", "", "ok"),
    ]
    log = (await page.get("/admin/audit", params={"target": user})).text
    assert ("users disable" in log, admin.username in log) == (True, True)


async def test_a_reason_is_noted_before_messages_are_shown_and_texts_are_no_markup(
    page: httpx.AsyncClient, admin: User, people: People, tool: Operator
) -> None:
    ann, bob = await people.new(), await people.new()
    for n in range(51):
        await ann.say(ann.chat_with(bob), f"{MARKUP} {n}.")
    both = {"conversation": f"{ann.username} {bob.username}"}
    answer = await page.post("/admin/messages", data=both | {"reason": " "})
    assert (answer.status_code, "bold" in answer.text) == (400, False)
    assert (await page.get("/admin/messages", params=both)).text.count("bold") == 0

    newest = (await page.post("/admin/messages", data=both | {"reason": "report <i>17</i>"})).text
    assert ("&lt;b&gt;bold" in newest, " 50." in newest, " 0." in newest) == (True, True, False)
    assert (MARKUP in newest, "<i>17" in newest) == (False, False)
    older = both | {"reason": "report 17", "before": "2"}
    assert " 0." in (await page.post("/admin/messages", data=older)).text
    target = f"conversation {ann.chat_with(bob)}"
    assert (await deeds_of(tool, admin.username))[:2] == [
        ("messages read", target, "report 17", "ok"),
        ("messages read", target, "report <i>17</i>", "ok"),
    ]
    assert "&lt;i&gt;17" in (await page.get("/admin/audit", params={"target": target})).text


async def test_a_dead_letter_is_listed_shown_and_replayed_once(
    system: System, page: httpx.AsyncClient, admin: User, new_user: MakeUser, tool: Operator
) -> None:
    ann, bob = await new_user(), await new_user()
    message_id = str(uuid_utils.uuid7())
    await bury(system, message(ann, bob, message_id, now_ms()))
    letters = await dead_letters.list_letters(tool, most=10_000)
    (name,) = [one["letter"] for one in letters if one["key"] == single(ann, bob)]

    path = f"/admin/letters/{name}"
    assert name in (await page.get("/admin/letters")).text
    assert message_id in (await page.get(path)).text
    assert (await page.get("/admin/letters/7/none")).status_code == 404
    assert (await page.post(path)).status_code == 303
    answer = await page.post(path)
    assert (answer.status_code, "replayed before" in answer.text) == (409, True)
    assert (await page.post(path, data={"again": "yes"})).status_code == 303
    did = [(deed[0], deed[3]) for deed in await deeds_of(tool, admin.username)]
    replayed, shown = ("dead-letters replay", "ok"), ("dead-letters show", "ok")
    assert did[:3] == [replayed, replayed, shown]


async def test_names_are_no_markup(
    page: httpx.AsyncClient, admin: User, new_user: MakeUser
) -> None:
    ann = await new_user()
    answer = await ann.request("PATCH", "/v1/users/me", json={"nickname": MARKUP})
    assert answer.status_code == 200
    group = await ann.request("POST", "/v1/groups", json={"name": MARKUP[:40], "member_ids": []})
    assert group.status_code == 201, group.text
    for path, params in (
        (f"/admin/users/{ann.user_id}", {}),
        ("/admin/groups", {"of": ann.username}),
        (f"/admin/groups/{group.json()['group_id']}", {}),
        ("/admin/users", {"q": MARKUP}),
        ("/admin/audit", {"who": MARKUP}),
    ):
        answer = await page.get(path, params=params)
        assert answer.status_code == 200, answer.text
        assert ("<b>bold" in answer.text, "<script>alert" in answer.text) == (False, False)
    assert "&lt;b&gt;bold" in (await page.get("/admin/groups", params={"of": ann.username})).text


async def test_the_page_is_protected_in_browsers_and_the_rest_of_the_port_is_as_it_was(
    system: System, http: httpx.AsyncClient, page: httpx.AsyncClient, admin: User
) -> None:
    for path in ("/admin", "/admin/login", "/admin/users", "/admin/admin.css", "/admin/nothing"):
        headers = (await page.get(path)).headers
        policy = headers["content-security-policy"]
        assert ("default-src 'none'" in policy, "unsafe" in policy) == (True, False)
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
    overview = (await page.get("/admin")).text
    for part in ("auth", "chat", "ws", "Dead letters", "Offline lists"):
        assert part in overview
    assert ("no answer" in overview, "style=" in overview) == (False, False)
    assert (await page.post("/admin/users/1", content=b"x" * 20_000)).status_code == 413
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await page.get(path)).status_code == 200
    assert (await page.get("/administrator")).status_code == 404
    assert (await http.get("/admin")).status_code == 404
    assert "/admin" not in (await http.get("/openapi.json")).text
    log = system.log("api-gateway")
    assert page.cookies["im_admin"].partition(".")[2] not in log


async def test_an_operator_disables_a_user_in_a_browser_and_sees_it_in_the_audit_log(
    system: System, http: httpx.AsyncClient, online: Connect, tool: Operator
) -> None:
    admin, user = await register(http), await register(http)
    device = await online(user)
    await device.ask(to=admin.user_id, content="hello")
    await accounts.set_admin(tool, admin.username, admin=True)
    at = f"http://{system.ready.dev['api-gateway']}/admin"
    async with chromium() as browser:
        visitor = await Visitor.open(browser, at)
        await visitor.is_accessible()
        await visitor.page.get_by_label("Username").fill(admin.username)
        await visitor.page.get_by_label("Password").fill(PASSWORD)
        await visitor.page.keyboard.press("Enter")
        await visitor.page.get_by_role("heading", name="Overview").wait_for()
        await visitor.page.get_by_role("row", name="chat").first.wait_for()
        figure = visitor.page.locator(".figure").filter(has_text="Connections")
        await expect(figure).to_have_text(re.compile("[1-9]"))
        await visitor.is_accessible()
        # New figures come by themselves.
        await visitor.page.evaluate("document.getElementById('live').dataset.old = 'yes'")
        await expect(visitor.page.locator("#live[data-old]")).to_have_count(0)
        await visitor.picture("admin")
        await visitor.page.emulate_media(color_scheme="dark")
        await visitor.is_accessible()
        await visitor.picture("admin-dark")
        await visitor.page.get_by_role("link", name="Users").click()
        await visitor.page.get_by_role("searchbox").fill(user.username)
        await visitor.page.keyboard.press("Enter")
        await visitor.page.get_by_role("link", name=user.username).click()
        await visitor.is_accessible()
        await visitor.button("Disable").click()
        await visitor.page.get_by_role("status").get_by_text("is disabled").wait_for()
        assert await device.wait_closed(limit_s=5) == 4002
        await visitor.picture("admin-user-dark")
        await visitor.page.get_by_role("link", name="Audit log").click()
        row = visitor.page.get_by_role("row").filter(has_text=f"user {user.user_id}")
        await expect(row).to_contain_text("users disable")
        await expect(row).to_contain_text(admin.username)
        await visitor.is_accessible()
        await visitor.picture("admin-audit-dark")
        await visitor.button("Log out").click()
        await visitor.button("Log in").wait_for()
        assert visitor.complaints == []
    assert (await accounts.get_user(tool, user.username))["disabled"]
