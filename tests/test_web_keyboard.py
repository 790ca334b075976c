"""The web client without a mouse, and as it is told to who does not see it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest
from im_browser import Visitor
from im_node import WEB
from im_people import PASSWORD
from playwright.async_api import Browser, Locator, expect

from im_local.testing import System

Told = set[tuple[str, str]]
Say = Callable[[str], str]
Tells = Callable[..., Awaitable[Told]]
LIMIT_S = 30.0
IS_SENT = re.compile("^(Sent|Delivered|Read)$")
LOCALES = {"en": "en-GB", "zh": "zh-CN"}
RAIL = [("button", name) for name in ("Chats", "Contacts", "Settings", "Log out")]
# It stays whatever is open.
SHELL = [*RAIL, ("navigation", "im"), ("main", ""), ("status", ""), ("alert", "")]


def words(language: str) -> Say:
    """What the page says for a text of the English one."""
    english, other = (_texts(name) for name in ("en", language))
    keys = {text: key for key, text in english.items()}
    return lambda text: other[keys[text]] if text in keys else text


def _texts(language: str) -> dict[str, str]:
    source = (WEB / "app" / "texts" / f"{language}.ts").read_text(encoding="utf-8")
    return dict(re.findall(r'^  (\w+):\s*"(.*)",$', source, re.MULTILINE))


async def _tells(visitor: Visitor, wanted: Told) -> Told:
    """Waits until it does, and gives all of it."""
    missing = wanted
    try:
        async with asyncio.timeout(LIMIT_S):
            while missing := wanted - (told := await visitor.is_told()):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{missing} is not told") from None
    return told


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_each_view_is_told_by_roles_and_names(
    system: System, browser: Browser, language: str
) -> None:
    say, api = words(language), system.ready.api

    async def tells(*wanted: tuple[str, str]) -> Told:
        return await _tells(ann, {(role, say(name)) for role, name in wanted})

    bob = await Visitor.open(browser, api)
    await bob.create_account("bob")
    ann = await Visitor.open(browser, api, locale=LOCALES[language])
    fields = [("textbox", "Username"), ("textbox", "Password")]
    ways = [("button", "Log in"), ("button", "Create account")]
    await tells(("main", ""), ("heading", "im"), *fields, *ways)
    await ann.button({"en": "中文", "zh": "English"}[language]).wait_for()
    await ann.button(say("Log in")).click()
    await expect(ann.page.get_by_role("alert").first).to_have_text(say("Enter a username."))
    username = ann.box(say("Username"))
    await expect(username).to_have_accessible_description(say("Enter a username."))
    ann.username = ann.name = f"ann.{bob.username}"
    await username.fill(ann.username)
    await ann.box(say("Password")).fill(PASSWORD)
    await ann.button(say("Create account")).click()
    side = [("textbox", "Search"), ("button", "New group")]
    await tells(*SHELL, *side, ("region", "Chats"), ("heading", "Choose a conversation"))
    await _a_conversation_is_told(ann, bob, say, tells)
    await _contacts_and_settings_are_told(ann, say, tells)
    assert ann.complaints == []


async def _contacts_and_settings_are_told(ann: Visitor, say: Say, tells: Tells) -> None:
    await ann.button(say("Contacts")).click()
    makes = [("button", "New group"), ("button", "Join a group")]
    await tells(*SHELL, ("region", "Contacts"), *makes)
    group = [("textbox", "Group name"), ("textbox", "Username"), ("group", "Choose who is in it")]
    join = [("textbox", "Group number"), ("button", "Join")]
    for opens, names in (("New group", group), ("Join a group", join)):
        await ann.button(say(opens)).click()
        await tells(("dialog", opens), ("button", "Close"), *names)
        await ann.page.keyboard.press("Escape")
    await ann.button(say("Settings")).click()
    profile = [("textbox", "Display name"), ("checkbox", "Do not show when I am online")]
    looks = [("combobox", "Look"), ("combobox", "Language"), ("button", "Change picture")]
    passwords = [("textbox", "Current one"), ("textbox", "New one")]
    await tells(*SHELL, ("region", "Settings"), *profile, *looks, *passwords)


async def _a_conversation_is_told(ann: Visitor, bob: Visitor, say: Say, tells: Tells) -> None:
    await ann.box(say("Search")).fill(bob.username)
    await ann.page.get_by_role("button", name=bob.name).first.click()
    await ann.box(say("Message")).fill("hello")
    await ann.button(say("Send")).click()
    await bob.page.get_by_role("button", name=ann.name).click()
    await expect(ann.mark("hello")).to_have_accessible_name(say("Read"))
    await bob.say("nice to see you")
    # In a region that is read out when something comes.
    came = ann.page.get_by_role("log", name=say("New messages"))
    await expect(came).to_have_text(f"{bob.name}: nice to see you")
    await expect(came).to_have_attribute("aria-live", "polite")
    head = [("heading", bob.name), ("button", "Details"), ("list", "Messages"), ("button", "More")]
    writes = [("button", "Attach a file"), ("textbox", "Message"), ("button", "Send")]
    told = await tells(*SHELL, *head, ("log", "New messages"), ("image", "Read"), *writes)
    # Whose it is, when it came, and what it says.
    articles = sorted(name for role, name in told if role == "article")
    for who, text in ((bob.name, "nice to see you"), (say("You"), "hello")):
        assert any(re.fullmatch(f"{who}, .+: {text}", name) for name in articles), articles
    await ann.button(say("Details")).click()
    does = [("button", name) for name in ("Close", "Write", "Add friend", "Block")]
    await tells(("dialog", "Profile"), *does)
    await ann.button(say("Block")).click()
    await tells(("dialog", "Block"), ("button", "Cancel"), ("button", "Block"))
    for left in (1, 0):
        await ann.page.keyboard.press("Escape")
        await expect(ann.page.get_by_role("dialog")).to_have_count(left)


async def test_all_of_it_is_done_without_a_mouse(system: System, browser: Browser) -> None:
    bob = await Visitor.open(browser, system.ready.api)
    await bob.create_account("bob")
    ann = await Visitor.open(browser, system.ready.api)
    await _come_in(ann, f"ann.{bob.username}")
    keys, message = ann.page.keyboard, ann.box("Message")
    # Finds him, and writes.
    await keys.type(bob.username)
    found = ann.page.get_by_role("button", name=bob.name)
    await found.wait_for()
    await keys.press("ArrowDown")
    await expect(found).to_be_focused()
    await keys.press("Enter")
    await expect(message).to_be_focused()
    for text in ("Hello Bob", "Wrong window"):
        await keys.type(text)
        await keys.press("Enter")
        await ann.sees(text)
    await bob.page.get_by_role("button", name=ann.name).click()
    await bob.say("Hi Ann")
    await ann.sees("Hi Ann")
    await _reply_and_take_back(ann, bob, message)
    await _look_at_dialogs(ann, bob, message)
    await _a_group(ann, bob, message)
    await _who_is_in_it(ann)
    await _a_picture(ann)
    # From one conversation to another, and back.
    await ann.tab_to(ann.page.get_by_role("button", name=re.compile("^Team")), back=True)
    await keys.press("ArrowDown")
    await expect(ann.page.get_by_role("button", name=re.compile(f"^{bob.name}"))).to_be_focused()
    await keys.press("Enter")
    await ann.page.get_by_role("heading", name=bob.name).wait_for()
    await expect(message).to_be_focused()
    await ann.tab_to(ann.box("Search"), back=True)
    assert ann.complaints == []


async def _come_in(ann: Visitor, name: str) -> None:
    """Creates an account, goes, and comes again with a slip."""
    keys, username, password = ann.page.keyboard, ann.box("Username"), ann.box("Password")
    ann.username = ann.name = name
    await expect(username).to_be_focused()
    await keys.type(name)
    await ann.tab_to(password)
    await keys.type(PASSWORD)
    await ann.tab_to(ann.button("Create account"))
    await keys.press("Enter")
    await expect(ann.box("Search")).to_be_focused()
    await ann.tab_to(ann.button("Log out"), back=True)
    await keys.press("Enter")
    await expect(username).to_be_focused()
    await keys.type(name)
    await ann.tab_to(ann.button("Log in"))
    await keys.press("Enter")
    await expect(ann.page.get_by_role("alert").first).to_have_text("Enter a password.")
    await expect(password).to_be_focused()
    await keys.type("no such password")
    await ann.tab_to(ann.button("Log in"))
    await keys.press("Space")
    await ann.page.get_by_role("alert").get_by_text("Username or password is wrong.").wait_for()
    await expect(ann.button("Log in")).to_be_focused()
    await ann.tab_to(password, back=True)
    await keys.type(PASSWORD)
    await keys.press("Enter")
    await expect(ann.box("Search")).to_be_focused()


async def _reply_and_take_back(ann: Visitor, bob: Visitor, message: Locator) -> None:
    keys = ann.page.keyboard
    await keys.press("ArrowUp")
    await expect(ann.message("Hi Ann")).to_be_focused()
    await keys.press("Enter")
    await expect(ann.page.get_by_role("menuitem", name="Reply")).to_be_focused()
    await keys.press("Escape")
    await expect(ann.message("Hi Ann").get_by_role("button", name="More")).to_be_focused()
    await keys.press("Enter")
    await expect(ann.page.get_by_role("menuitem", name="Reply")).to_be_focused()
    await keys.press("Enter")
    await expect(message).to_be_focused()
    await keys.type("How are you?")
    await keys.press("Enter")
    await expect(bob.message("How are you?")).to_contain_text("Hi Ann")
    await ann.sees("How are you?")
    for text in ("How are you?", "Hi Ann", "Wrong window"):
        await keys.press("ArrowUp")
        await expect(ann.message(text).first).to_be_focused()
    await keys.press("Enter")
    await expect(ann.page.get_by_role("menuitem").first).to_be_focused()
    await keys.press("ArrowUp")
    await expect(ann.page.get_by_role("menuitem", name="Take back")).to_be_focused()
    await keys.press("Enter")
    await expect(ann.message("You took this back")).to_be_focused()
    await bob.sees("took this back")
    # Who begins to type is where one writes.
    await keys.type("o")
    await expect(message).to_be_focused()
    await expect(message).to_have_value("o")
    await keys.press("Backspace")


async def _look_at_dialogs(ann: Visitor, bob: Visitor, message: Locator) -> None:
    """Each opens, keeps the focus inside, and gives it back."""
    keys, dialogs = ann.page.keyboard, ann.page.get_by_role("dialog")
    details = ann.button("Details")
    await ann.tab_to(details, back=True)
    await keys.press("Enter")
    await ann.page.get_by_role("dialog", name="Profile").wait_for()
    block = dialogs.get_by_role("button", name="Block", exact=True)
    await ann.tab_to(block)
    await keys.press("Enter")
    cancel = ann.page.get_by_role("dialog", name="Block").get_by_role("button", name="Cancel")
    await cancel.wait_for()
    await ann.tab_to(cancel)
    await keys.press("Escape")
    await expect(block).to_be_focused()
    await keys.press("Escape")
    await expect(details).to_be_focused()
    await ann.tab_to(ann.button("Contacts"), back=True)
    await keys.press("Enter")
    await ann.button("Join a group").wait_for()
    for name, first in (("New group", "Group name"), ("Join a group", "Group number")):
        await ann.tab_to(ann.button(name))
        await keys.press("Enter")
        await expect(dialogs.get_by_role("textbox", name=first)).to_be_focused()
        await keys.press("Escape")
        await expect(dialogs).to_have_count(0)
        await expect(ann.button(name)).to_be_focused()


async def _a_group(ann: Visitor, bob: Visitor, message: Locator) -> None:
    keys, dialogs = ann.page.keyboard, ann.page.get_by_role("dialog")
    await ann.tab_to(ann.button("New group"), back=True)
    await keys.press("Enter")
    await expect(ann.box("Group name")).to_be_focused()
    await keys.type("Team")
    await ann.tab_to(dialogs.get_by_role("textbox", name="Username"))
    await keys.type(bob.username)
    tick = dialogs.get_by_role("checkbox", name=bob.name)
    await tick.wait_for()
    await ann.tab_to(tick)
    await keys.press("Space")
    await ann.tab_to(ann.button("Create group"))
    await keys.press("Enter")
    await expect(message).to_be_focused()
    await keys.type("Welcome!")
    await keys.press("Enter")
    welcome = ann.message("Welcome!")
    # What is still on its way has no menu.
    await expect(ann.mark("Welcome!")).to_have_accessible_name(IS_SENT)
    await keys.press("ArrowUp")
    await expect(welcome).to_be_focused()
    await keys.press("Enter")
    await expect(ann.page.get_by_role("menuitem").first).to_be_focused()
    for _ in range(2):
        await keys.press("ArrowDown")
    await keys.press("Enter")
    await ann.page.get_by_role("dialog", name="Read by…").wait_for()
    await keys.press("Escape")
    await expect(welcome).to_be_focused()


async def _who_is_in_it(ann: Visitor) -> None:
    """Escape closes the menu, and then the dialog."""
    keys, dialogs = ann.page.keyboard, ann.page.get_by_role("dialog")
    await ann.tab_to(ann.button("Details"), back=True)
    await keys.press("Enter")
    more = dialogs.get_by_role("button", name="More")
    await more.wait_for()
    await ann.tab_to(more)
    await keys.press("Enter")
    await expect(ann.page.get_by_role("menuitem", name="Make admin")).to_be_focused()
    await keys.press("Escape")
    await expect(more).to_be_focused()
    await keys.press("Escape")
    await expect(ann.button("Details")).to_be_focused()


async def _a_picture(ann: Visitor) -> None:
    keys = ann.page.keyboard
    async with ann.page.expect_file_chooser() as choosing:
        await ann.tab_to(ann.button("Attach a file"))
        await keys.press("Enter")
    picture = {"name": "us.png", "mimeType": "image/png", "buffer": await ann.page.screenshot()}
    await (await choosing.value).set_files(picture)  # type: ignore[arg-type]
    shown = ann.button("Open the picture us.png")
    await shown.locator("img").wait_for()
    # Until it is sent it is another one, which takes the focus along.
    mark = ann.page.get_by_role("article").filter(has=shown).locator(".bubble-foot")
    await expect(mark.get_by_role("img")).to_have_accessible_name(IS_SENT)
    await ann.tab_to(shown, back=True)
    await keys.press("Enter")
    await ann.page.get_by_role("dialog", name="us.png").wait_for()
    await keys.press("Escape")
    await expect(shown).to_be_focused()
