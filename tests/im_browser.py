"""People at the web client, in Debian's Chromium."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from im_node import WEB
from im_people import PASSWORD
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

from im_local.paths import ROOT

SETTLED = """Promise.allSettled(
    document.getAnimations()
        .filter((one) => Number.isFinite(one.effect.getComputedTiming().endTime))
        .map((one) => one.finished)
)"""
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
# Where pictures of the views are put, if they are wanted.
SHOTS = os.environ.get("IM_TEST_SCREENSHOTS")
LIMIT_MS = 15_000
# Else five seconds, whatever the page was given.
expect.set_options(timeout=LIMIT_MS)
_numbers = itertools.count(1)
# More than there are on the way to anything.
MOST_TABS = 40
# What has the focus is in the window and not hidden; around it, its parent or a child is a line.
FOCUS_IS_SEEN = """() => {
    const at = document.activeElement;
    if (at === document.body) return true;
    const { left, top, right, bottom } = at.getBoundingClientRect();
    const isInWindow = right > 0 && bottom > 0 && left < innerWidth && top < innerHeight;
    const isMarked = [at, at.parentElement, ...at.children].map(getComputedStyle).some(
        (look) => look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 2
    );
    return isInWindow && isMarked && at.checkVisibility({ opacityProperty: true });
}"""
# What a screen reader names, besides all that takes the focus.
NAMED = {
    "button",
    "link",
    "textbox",
    "checkbox",
    "combobox",
    "menuitem",
    "option",
    "dialog",
    "image",
}


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Skips the test where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no Chromium; on Debian: apt-get install chromium")
    async with async_playwright() as driver:
        # Its sandbox cannot be set up by root, nor in most containers; what it loads is our own.
        browser = await driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        await browser.close()


@dataclass
class Visitor:
    """Somebody at a page of their own, as in a private window."""

    page: Page
    # What one logs in with, and what others see.
    username: str = ""
    name: str = ""
    # What the page complained of: exceptions, and all that its policy refused.
    complaints: list[str] = field(default_factory=list)

    @classmethod
    async def open(cls, browser: Browser, url: str, **look: Any) -> Visitor:
        context = await browser.new_context(**{"viewport": {"width": 1200, "height": 760}, **look})
        page = await context.new_page()
        page.set_default_timeout(LIMIT_MS)
        visitor = cls(page)
        page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        page.on("console", visitor._listen)
        await page.goto(f"{url}/")
        return visitor

    def _listen(self, said: Any) -> None:
        if "Content Security Policy" in said.text or "TrustedHTML" in said.text:
            self.complaints.append(said.text)

    async def create_account(self, name: str) -> None:
        """``name`` is made one that nobody has."""
        self.username = self.name = f"{name}{next(_numbers)}{secrets.token_hex(2)}"
        await self.page.get_by_role("textbox", name="Username").fill(self.username)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.button("Create account").click()
        await self.page.get_by_role("textbox", name="Search").wait_for()

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    async def call_oneself(self, nickname: str, picture: bytes | None = None) -> None:
        """Under Settings; from then on that is the name."""
        await self.button("Settings").click()
        await self.page.get_by_label("Display name").fill(nickname)
        await self.button("Save").click()
        await self.page.get_by_text("Saved.").wait_for()
        if picture:
            file = {"name": "me.png", "mimeType": "image/png", "buffer": picture}
            chosen = self.page.locator(".settings input[type=file]")
            await chosen.set_input_files(file)  # type: ignore[arg-type]
            await self.page.locator(".settings .avatar img").wait_for()
        await self.button("Chats").click()
        self.name = nickname

    async def open_chat(self, other: Visitor) -> None:
        await self.page.get_by_role("textbox", name="Search").fill(other.username)
        await self.page.get_by_role("button", name=other.name).first.click()
        await self.page.get_by_role("heading", name=other.name).wait_for()

    async def say(self, text: str) -> None:
        await self.page.get_by_role("textbox", name="Message").fill(text)
        await self.button("Send").click()

    def message(self, text: str) -> Locator:
        return self.page.get_by_role("article").filter(has_text=text)

    async def sees(self, text: str) -> None:
        await self.message(text).last.wait_for()

    async def choose(self, text: str, choice: str) -> None:
        """Something of a message's menu."""
        await self.message(text).hover()
        await self.message(text).get_by_role("button", name="More").click()
        await self.page.get_by_role("menuitem", name=choice).click()

    def box(self, name: str) -> Locator:
        return self.page.get_by_role("textbox", name=name, exact=True)

    def mark(self, text: str) -> Locator:
        """How far an own message is."""
        return self.message(text).locator(".bubble-foot").get_by_role("img")

    async def tab_to(self, wanted: Locator, *, back: bool = False) -> None:
        """By the tab key. Fails where the focus is not seen on the way."""
        for _ in range(MOST_TABS):
            await self.page.keyboard.press("Shift+Tab" if back else "Tab")
            await self.page.evaluate(SETTLED)
            at = await self.page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
            assert await self.page.evaluate(FOCUS_IS_SEEN), at
            if await wanted.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"the tab key does not come to {wanted}")

    async def is_told(self) -> set[tuple[str, str]]:
        """Role and name of all that a screen reader is told of. Fails where a name is missing."""
        devtools = await self.page.context.new_cdp_session(self.page)
        tree = await devtools.send("Accessibility.getFullAXTree")
        await devtools.detach()
        told, nameless = set(), []
        for node in tree["nodes"]:
            if node["ignored"]:
                continue
            role, name = (node.get(key, {}).get("value", "") for key in ("role", "name"))
            properties = {
                one["name"]: one["value"].get("value") for one in node.get("properties", ())
            }
            told.add((role, name))
            if not name.strip() and (role in NAMED or properties.get("focusable")):
                nameless.append(node)
        assert not nameless, nameless
        return told

    async def texts(self) -> list[str]:
        """Of all messages that are in the page."""
        return await self.page.locator("article .text").all_inner_texts()

    async def is_accessible(self) -> None:
        """Fails with what axe finds that is serious or critical."""
        if not AXE.exists():
            await (
                await asyncio.create_subprocess_exec(ROOT / "scripts/build-web", "--install")
            ).wait()
        devtools = await self.page.context.new_cdp_session(self.page)
        await devtools.send("Page.setBypassCSP", {"enabled": True})
        await self.page.evaluate(AXE.read_text(encoding="utf-8"))
        # What fades in has its contrast only then.
        await self.page.evaluate(SETTLED)
        found = await self.page.evaluate("axe.run({ resultTypes: ['violations'] })")
        grave = [
            (one["id"], one["help"], [node["html"][:200] for node in one["nodes"]])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert not grave, grave

    async def picture(self, name: str) -> None:
        if SHOTS:
            # So that what was just opened has come to rest.
            await self.page.wait_for_timeout(400)
            await self.page.screenshot(path=Path(SHOTS) / f"{name}.png")
