"""A conversation of many messages in a page, made up by what answers for its history."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

from im_browser import Visitor
from playwright.async_api import Locator, Route, expect

# At once, below what is asked for.
_PAGE = 10_000


async def _made_up(route: Route) -> None:
    url = urlsplit(route.request.url)
    conversation = url.path.split("/")[3]
    before = int(parse_qs(url.query)["before_seq"][0])
    items = [
        {"message_id": f"m{seq}", "conversation_id": conversation, "seq": seq, "from": 1,
         "content_type": "text", "content": f"number {seq} " + "word " * (seq % 40),
         "timestamp": 1_790_000_000_000 + seq * 1000}
        for seq in range(before - _PAGE, before)
    ]  # fmt: skip
    await route.fulfill(body=json.dumps({"items": items}), content_type="application/json")


async def open_long_chat(visitor: Visitor, other: Visitor, *, count: int, last: str) -> Locator:
    """Opens the chat with ``other``, says ``last``, and goes back until ``count`` messages are known.
    Gives what scrolls."""
    await visitor.page.route("**/v1/conversations/*/messages*", _made_up)
    await visitor.open_chat(other)
    await visitor.say(last)
    await visitor.sees(last)
    scroller = visitor.page.locator(".messages.virtual")
    rows = visitor.page.locator(".messages [aria-setsize]")
    known = 0
    while known < count:
        await scroller.evaluate("element => element.scrollTop = 0")
        await expect(rows.first).not_to_have_attribute("aria-setsize", str(known))
        known = int(await rows.first.get_attribute("aria-setsize") or 0)
    return scroller
