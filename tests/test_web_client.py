"""The web client in a real browser, on the whole system.

With IM_TEST_SCREENSHOTS=docs/screenshots the pictures of the documentation are made anew.
"""

from __future__ import annotations

import asyncio
import io
import re

from im_browser import Visitor
from im_infra import frozen
from im_long_chat import open_long_chat
from PIL import Image, ImageDraw
from playwright.async_api import Browser, expect

from im_local.testing import System

DARK = {"color_scheme": "dark"}
PHONE = {"viewport": {"width": 390, "height": 760}, "has_touch": True, "is_mobile": True}


def portrait(clothes: str, skin: str) -> bytes:
    """Somebody, from the shoulders up."""
    image = Image.new("RGB", (256, 256), "#dfe7f2")
    draw = ImageDraw.Draw(image)
    draw.ellipse((28, 168, 228, 368), clothes)
    draw.ellipse((78, 56, 178, 172), skin)
    draw.chord((74, 44, 182, 160), 180, 360, "#3b2a24")
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


async def test_two_people_talk(system: System, browser: Browser) -> None:
    api = system.ready.api
    ann, bob = await Visitor.open(browser, api), await Visitor.open(browser, api, **DARK)
    await ann.is_accessible()
    await ann.create_account("ann")
    await bob.create_account("bob")
    await ann.is_accessible()
    await ann.open_chat(bob)
    await ann.say("Hello! Did you read https://example.com/lake?day=6 already?")
    row = bob.page.get_by_role("button", name=ann.name)
    await expect(row).to_contain_text("1 unread")
    await row.click()
    await expect(ann.mark("Hello!")).to_have_accessible_name("Read")
    await expect(row).not_to_contain_text("unread")
    await bob.page.get_by_role("textbox", name="Message").press_sequentially("Yes")
    await ann.page.get_by_text(f"{bob.name} is typing").wait_for()
    await bob.page.keyboard.press("Enter")
    await ann.sees("Yes")
    # What others write is text and nothing else.
    await bob.say("<img src=x onerror=alert(1)><script>alert(2)</script>")
    await ann.sees("<script>alert(2)</script>")
    assert await ann.page.locator("article img, article script").count() == 0
    await ann.choose("Yes", "Reply")
    await ann.say("Good. See you there!")
    await expect(bob.message("See you there!")).to_contain_text("Yes")
    files = [
        {"name": "page.png", "mimeType": "image/png", "buffer": await ann.page.screenshot()},
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"three words here"},
    ]
    await ann.page.locator("input[type=file]").set_input_files(files)  # type: ignore[arg-type]
    await bob.page.get_by_role("button", name="Open the picture page.png").locator("img").wait_for()
    async with bob.page.expect_download() as saving:
        await bob.message("notes.txt").get_by_role("button", name="notes.txt").click()
    saved = await (await saving.value).path()
    assert saved.read_bytes() == b"three words here"
    await sends_a_file_that_takes_a_while(ann, bob)
    await ann.say("Wrong window")
    await expect(ann.mark("Wrong window")).to_have_accessible_name("Read")
    await ann.choose("Wrong window", "Take back")
    await bob.sees("took this back")
    assert await bob.message("Wrong window").count() == 0
    await bob.is_accessible()
    await ann.page.reload()
    await ann.page.get_by_role("button", name=bob.name).click()
    await ann.sees("See you there!")
    assert await bob.message("See you there!").count() == 1
    await ann.button("Log out").click()
    await ann.button("Log in").wait_for()
    assert ann.complaints + bob.complaints == []


async def test_a_mark_says_how_far_each_message_is(system: System, browser: Browser) -> None:
    ann, bob = [await Visitor.open(browser, system.ready.api) for _ in range(2)]
    await ann.create_account("ann")
    await bob.create_account("bob")
    await bob.page.goto("about:blank")
    await ann.open_chat(bob)
    await ann.say("Are you there?")
    mark, row = ann.mark("Are you there?"), ann.page.get_by_role("button", name=bob.name)
    await expect(mark).to_have_accessible_name("Sent")
    # Nothing is answered while the gateway stands still.
    with frozen(system, "ws-gateway"):
        await ann.say("Hello!")
        await expect(ann.mark("Hello!")).to_have_accessible_name("Sending")
        await expect(row.get_by_role("img")).to_have_accessible_name("Sending")
        await ann.page.keyboard.press("ArrowUp")
        await expect(ann.message("Hello!")).to_be_focused()
    await expect(ann.mark("Hello!")).to_have_accessible_name("Sent")
    await expect(row.get_by_role("img")).to_have_accessible_name("Sent")
    await expect(ann.message("Hello!")).to_be_focused()
    await bob.page.goto(f"{system.ready.api}/")
    await bob.page.get_by_role("button", name=ann.name).wait_for()
    for one in (mark, ann.mark("Hello!")):
        await expect(one).to_have_accessible_name("Delivered")
    await bob.page.get_by_role("button", name=ann.name).click()
    for one in (mark, ann.mark("Hello!")):
        await expect(one).to_have_accessible_name("Read")
    await what_is_refused_can_be_sent_again(ann, bob)
    assert ann.complaints + bob.complaints == []


async def what_is_refused_can_be_sent_again(ann: Visitor, bob: Visitor) -> None:
    await bob.button("Details").click()
    await bob.button("Block").click()
    await bob.page.get_by_role("dialog", name="Block").get_by_role("button", name="Block").click()
    await bob.button("Unblock").wait_for()
    await ann.say("Are you angry?")
    refused, mark = ann.message("Are you angry?"), ann.mark("Are you angry?")
    await expect(mark).to_have_accessible_name("Not sent")
    told = refused.get_by_role("alert")
    await expect(told).to_have_text("They do not take messages or requests from you.")
    # It is so after a reload, too.
    await bob.page.reload()
    await bob.page.get_by_role("button", name=ann.name).click()
    await bob.button("Details").click()
    await bob.button("Unblock").click()
    await bob.button("Block").wait_for()
    await bob.page.keyboard.press("Escape")
    await refused.get_by_role("button", name="Try again").click()
    await bob.sees("Are you angry?")
    await expect(mark).to_have_accessible_name("Read")
    await expect(told).to_have_count(0)


async def sends_a_file_that_takes_a_while(ann: Visitor, bob: Visitor) -> None:
    devtools = await ann.page.context.new_cdp_session(ann.page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 50_000}
    await devtools.send("Network.enable")
    await devtools.send("Network.emulateNetworkConditions", slow)
    film = {"name": "film.bin", "mimeType": "application/octet-stream", "buffer": bytes(300_000)}
    await ann.page.locator("input[type=file]").set_input_files(film)  # type: ignore[arg-type]
    progress = ann.page.get_by_role("progressbar", name="Uploading film.bin")
    await expect(progress).to_have_js_property("max", 1)
    await expect(progress).not_to_have_js_property("value", 0)
    await devtools.send("Network.emulateNetworkConditions", slow | {"uploadThroughput": -1})
    await bob.message("film.bin").get_by_role("button", name="film.bin").wait_for()


async def test_friends_groups_and_what_one_may_do_there(system: System, browser: Browser) -> None:
    api = system.ready.api
    ann, bob = await Visitor.open(browser, api), await Visitor.open(browser, api, **DARK)
    await ann.create_account("Ann")
    await bob.create_account("Bob")
    await ann.open_chat(bob)
    await ann.say("Hi! Shall we plan the summer?")
    await ann.button("Details").click()
    await ann.button("Add friend").click()
    # Behind a dialog nobody would be told of it.
    told = ann.page.get_by_role("dialog").get_by_role("status")
    await expect(told).to_have_text("Request sent.")
    await ann.page.keyboard.press("Escape")
    await bob.button("Contacts").click()
    await bob.button("Accept").wait_for()
    await bob.is_accessible()
    # A new friend is in the list that is open.
    await ann.button("New group").click()
    await bob.button("Accept").click()
    await ann.page.get_by_role("checkbox", name=bob.name).wait_for()
    await ann.page.keyboard.press("Escape")
    await ann.page.get_by_text("online", exact=True).first.wait_for()
    # Who has the page open sees a new name and a new picture at once.
    await ann.call_oneself("Ann Lee", portrait("#7c4dff", "#ffd8b8"))
    await bob.call_oneself("Bob Marsh", portrait("#00897b", "#c68863"))
    for sees, other in ((ann, bob), (bob, ann)):
        await sees.button("Contacts").click()
        row = sees.page.get_by_role("button", name=other.name)
        await expect(row.locator(".avatar img")).to_be_visible()
    await _names_a_friend(ann, bob)

    await ann.button("New group").click()
    await ann.page.get_by_label("Group name").fill("Weekend trip")
    await ann.page.get_by_role("checkbox", name=bob.name).check()
    await ann.is_accessible()
    await ann.button("Create group").click()
    await ann.page.get_by_role("heading", name="Weekend trip").wait_for()
    await ann.say("Shall we go to the lake on Saturday?")
    await bob.button("Chats").click()
    await bob.page.get_by_role("button", name="Weekend trip").click()
    await bob.sees("on Saturday?")
    await bob.say("Yes! I can drive, and I bring the tent.")
    await ann.sees("I can drive")
    # To Bob, past everybody and back again.
    await ann.page.get_by_role("textbox", name="Message").press_sequentially("@")
    choices = ann.page.get_by_role("option")
    await choices.nth(1).wait_for()
    for key, at in (("ArrowDown", 1), ("ArrowUp", 0)):
        await ann.page.keyboard.press(key)
        await expect(choices.nth(at)).to_have_attribute("aria-selected", "true")
    await ann.is_accessible()
    await ann.page.keyboard.press("Enter")
    await ann.page.keyboard.type("that is very kind of you")
    await ann.page.keyboard.press("Enter")
    await expect(bob.page.locator("mark.me")).to_have_text(f"@{bob.name}")
    await ann.choose("on Saturday?", "Read by")
    await ann.page.get_by_role("dialog").get_by_text(bob.name).wait_for()
    await ann.page.keyboard.press("Escape")
    # From the message to where one writes.
    await expect(ann.message("on Saturday?")).to_be_focused()
    await ann.page.keyboard.press("Escape")
    await expect(ann.box("Message")).to_be_focused()

    await bob.picture("group-dark")
    await ann.picture("group")
    await ann.is_accessible()
    await bob.is_accessible()
    await ann.button("Details").click()
    dialog = ann.page.get_by_role("dialog")
    await dialog.get_by_text("owner", exact=True).wait_for()
    await ann.is_accessible()
    await dialog.get_by_label("Only owner and admins may write").check()
    await bob.page.get_by_text("Only owner and admins may write in this group.").wait_for()
    await bob.page.get_by_role("button").filter(has_text="plan the summer").click()
    await bob.page.get_by_role("textbox", name="Message").wait_for()
    await bob.page.get_by_role("button", name="Weekend trip").click()
    await bob.page.get_by_text("Only owner and admins may write in this group.").wait_for()
    await dialog.get_by_role("button", name="More").click()
    await ann.page.get_by_role("menuitem", name="Make admin").click()
    await bob.page.get_by_role("textbox", name="Message").wait_for()
    await ann.page.keyboard.press("Escape")
    await bob.page.get_by_role("textbox", name="Search").fill("lake")
    await bob.page.get_by_role("button", name="Weekend trip").filter(has_text="lake").click()
    await expect(bob.message("on Saturday?")).to_have_class(re.compile("found"))
    await _use_all_powers(ann, bob)
    assert ann.complaints + bob.complaints == []


async def _names_a_friend(ann: Visitor, bob: Visitor) -> None:
    """For oneself alone, and no longer."""
    await ann.button("Chats").click()
    await ann.open_chat(bob)
    await ann.button("Details").click()
    for remark, shown in (("Bobby", "Bobby"), ("", bob.name)):
        await ann.box("Your name for them").fill(remark)
        await ann.page.keyboard.press("Enter")
        await ann.page.get_by_role("dialog").get_by_text(shown, exact=True).wait_for()
    await ann.page.keyboard.press("Escape")
    await ann.button("Contacts").click()


async def _use_all_powers(owner: Visitor, admin: Visitor) -> None:
    """Of a group whose conversation both have open: it ends with it."""
    shown, other = (visitor.page.get_by_role("dialog") for visitor in (owner, admin))
    await owner.button("Details").click()
    await owner.box("My name in this group").fill("Captain")
    await owner.page.keyboard.press("Enter")
    await expect(shown.get_by_role("status")).to_have_text("Saved.")
    for choice, state in (("Mute for an hour", "admin · muted"), ("Unmute", "admin")):
        await shown.get_by_role("button", name="More").click()
        await owner.page.get_by_role("menuitem", name=choice).click()
        await shown.get_by_text(state, exact=True).wait_for()
    await shown.get_by_role("button", name="More").click()
    await owner.page.get_by_role("menuitem", name="Make owner").click()
    await shown.get_by_text("You become an admin.").wait_for()
    await shown.get_by_role("button", name="Make owner").click()
    await shown.get_by_role("button", name="Leave group").wait_for()
    await admin.button("Details").click()
    await other.get_by_role("button", name="More").click()
    await admin.page.get_by_role("menuitem", name="Remove from group").click()
    await expect(other.get_by_role("button", name=owner.name)).to_have_count(0)
    await owner.page.get_by_role("textbox", name="Message").wait_for(state="hidden")
    await other.get_by_role("button", name="End the group for all").click()
    asked = admin.page.get_by_role("dialog", name="End the group for all")
    await asked.get_by_text("This cannot be undone.").wait_for()
    await asked.get_by_role("button", name="End the group for all").click()
    await admin.page.get_by_role("textbox", name="Message").wait_for(state="hidden")


async def test_a_phone_another_language_and_the_sessions(system: System, browser: Browser) -> None:
    api = system.ready.api
    ann = await Visitor.open(browser, api)
    phone = await Visitor.open(browser, api, **PHONE)
    await ann.create_account("Ann")
    await phone.create_account("Zoe")
    await ann.call_oneself("Ann Lee")
    await phone.call_oneself("Zoe Park", portrait("#d81b60", "#f0c39a"))
    await phone.open_chat(ann)
    for text in ("Are you there?", "The train leaves at nine, from platform 4."):
        await phone.say(text)
        await ann.page.get_by_role("button", name=phone.name).get_by_text(text).wait_for()
    await ann.page.get_by_role("button", name=phone.name).click()
    await ann.say("On my way!")
    await phone.sees("On my way!")
    await phone.picture("phone")
    await phone.is_accessible()
    await phone.button("Back").click()
    await phone.page.get_by_role("button", name=ann.name).wait_for()
    await phone.is_accessible()

    second = await Visitor.open(browser, api)
    await second.page.get_by_role("textbox", name="Username").fill(ann.username)
    await second.page.get_by_label("Password").fill("not the password")
    await second.button("Log in").click()
    await second.page.get_by_text("Username or password is wrong.").wait_for()
    await second.page.get_by_label("Password").fill("correct horse battery")
    await second.button("Log in").click()
    await second.page.get_by_role("button", name=phone.name).wait_for()
    await ann.button("Settings").click()
    await ann.is_accessible()
    picture = {"name": "me.png", "mimeType": "image/png", "buffer": await ann.page.screenshot()}
    chosen = ann.page.locator(".settings input[type=file]")
    await chosen.set_input_files({**picture, "buffer": b"no picture"})  # type: ignore[arg-type]
    await ann.page.get_by_text("That is not a picture that can be shown.").wait_for()
    await chosen.set_input_files(picture)  # type: ignore[arg-type]
    await expect(ann.page.locator(".settings .avatar img")).to_be_visible()
    await phone.page.reload()
    shown = phone.page.get_by_role("button", name=ann.name).locator(".avatar img")
    await expect(shown).to_be_visible()
    # A square, however wide the picture was.
    assert await shown.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [320, 320]
    await ann.button("Remove picture").click()
    await expect(ann.page.locator(".settings .avatar img")).to_have_count(0)
    await ann.button("End").click()
    await second.page.get_by_text("Your session has ended.").wait_for()
    await ann.page.get_by_label("Language").select_option("zh")
    await ann.button("聊天").click()
    await ann.page.get_by_role("button", name=phone.name).click()
    await phone.page.get_by_role("button", name=ann.name).click()
    await phone.say("票已经买好了，明天早上九点出发。")
    await ann.sees("九点出发")
    await ann.page.get_by_role("textbox", name="消息").fill("太好了，明天见！")
    await ann.button("发送").click()
    await expect(ann.mark("明天见")).to_have_accessible_name("已读")
    await ann.picture("chinese")
    await ann.is_accessible()
    assert ann.complaints + phone.complaints + second.complaints == []


async def test_nothing_is_lost_or_doubled_when_a_gateway_dies_and_pages_are_reloaded(
    system: System, browser: Browser
) -> None:
    api = system.ready.api
    # All of it is in the page.
    tall = {"viewport": {"width": 1000, "height": 5000}}
    ann = await Visitor.open(browser, api, **tall)
    bob = await Visitor.open(browser, api, **tall)
    await ann.create_account("ann")
    await bob.create_account("bob")
    await ann.open_chat(bob)
    await ann.say("0")
    await bob.page.get_by_role("button", name=ann.name).click()
    await bob.sees("0")
    for number in range(1, 60):
        if number == 20:
            system.kill(next(name for name in system.ready.pids if name.startswith("ws-gateway")))
        await ann.say(f"{number}")
        if number == 40:
            await ann.page.reload()
            await ann.page.get_by_role("button", name=bob.name).click()
            await ann.page.get_by_role("heading", name=bob.name).wait_for()
        if number == 50:
            await bob.page.reload()
            await bob.page.get_by_role("button", name=ann.name).click()
    wanted = [f"{number}" for number in range(60)]
    for visitor in (ann, bob):
        await expect(visitor.page.locator("article .text")).to_have_count(60, timeout=60_000)
        assert await visitor.texts() == wanted
    await expect(ann.page.get_by_role("img", name="Sending")).to_have_count(0)
    assert ann.complaints + bob.complaints == []
    await asyncio.to_thread(system.wait_ready, "ws-gateway")


async def test_of_a_hundred_thousand_messages_only_what_is_seen_is_in_the_page(
    system: System, browser: Browser
) -> None:
    ann = await Visitor.open(browser, system.ready.api)
    bob = await Visitor.open(browser, system.ready.api)
    await ann.create_account("ann")
    await bob.create_account("bob")
    scroller = await open_long_chat(ann, bob, count=100_000, last="the last one")
    # Up and down through all of it: what is in the page stays little, and is what is seen.
    for part in (0.5, 0.9, 0.1, 0.7):
        await scroller.evaluate(_SCROLL_TO, part)
        await expect(scroller).to_have_attribute("data-full", "true")
        assert await ann.page.locator("article").count() < 100
    await ann.button("Go to the newest").click()
    await expect(ann.message("the last one")).to_be_in_viewport()
    assert ann.complaints == []


# Scrolls there, and notes when the middle of the list is a message, and not an empty place.
_SCROLL_TO = """(list, part) => {
  list.dataset.full = "false";
  list.scrollTop = list.scrollHeight * part;
  const look = () => {
    const { left, top, width, height } = list.getBoundingClientRect();
    const column = list.querySelector(".virtual-space").getBoundingClientRect();
    const seen = document.elementFromPoint(column.left + 30, top + height / 2);
    list.dataset.full = String(Boolean(seen?.closest(".virtual-item")));
    if (list.dataset.full !== "true") requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""
