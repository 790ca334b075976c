"""How the web client feels, in Debian's Chromium: how long it takes from the Enter key to the other
one's page (two windows of one browser), and how long frames are while a long conversation scrolls.

`python -P tests/bench_web_client.py`, on a machine with nothing else to do.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

# What is beside it is not looked for there, with -P.
sys.path.append(str(Path(__file__).parent))

from im_browser import Visitor, chromium
from im_long_chat import open_long_chat
from playwright.async_api import Browser

from im_local.testing import System

COUNT = 50
LONG = 100_000
FRAMES = 600
# A frame at 60 a second that comes late has missed its turn.
LATE_MS = 25
LIMIT_S = 600
# Both windows have one clock: what the browser says is milliseconds since the epoch.
_NOTE = """() => {
  window.seen = {};
  const look = () => {
    for (const text of document.querySelectorAll("article .text")) {
      window.seen[text.innerText] ??= performance.timeOrigin + performance.now();
    }
  };
  // A text that is there and not shown yet is empty: what shows it is another change.
  const all = { subtree: true, childList: true, characterData: true, attributes: true };
  new MutationObserver(look).observe(document.body, all);
  window.whenSeen = async (text) => {
    for (; !(text in window.seen); look()) await new Promise(requestAnimationFrame);
    return window.seen[text];
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter") window.typed = performance.timeOrigin + performance.now();
  }, true);
}"""


# Scrolls by so many pixels in each frame; gives how long each one took, in milliseconds.
_SCROLL = """async (list, [count, pixels]) => {
  const times = [];
  let last = 0;
  await new Promise((done) => {
    const step = (now) => {
      if (last) times.push(now - last);
      last = now;
      list.scrollTop += pixels;
      if (times.length < count) requestAnimationFrame(step);
      else done();
    };
    requestAnimationFrame(step);
  });
  return times;
}"""
# How far from the top, as a part of the whole; gives after how many milliseconds a message is there.
_JUMP = """async (list, part) => {
  const begin = performance.now();
  list.scrollTop = list.scrollHeight * part;
  const { top, height } = list.getBoundingClientRect();
  const { left } = list.querySelector(".virtual-space").getBoundingClientRect();
  await new Promise((done) => {
    const look = () => {
      const seen = document.elementFromPoint(left + 30, top + height / 2);
      if (seen?.closest(".virtual-item")) done();
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  return performance.now() - begin;
}"""


async def typed_to_seen(browser: Browser, api: str) -> str:
    times: list[float] = []
    ann, bob = await _two(browser, api)
    await ann.open_chat(bob)
    await bob.open_chat(ann)
    for visitor in (ann, bob):
        await visitor.page.evaluate(_NOTE)
    for number in range(COUNT):
        await ann.page.get_by_role("textbox", name="Message").fill(f"number {number}")
        await ann.page.keyboard.press("Enter")
        seen = await bob.page.evaluate("(text) => window.whenSeen(text)", f"number {number}")
        typed = await ann.page.evaluate("window.typed")
        times.append(seen - typed)
    await _close(ann, bob)
    middle, most = statistics.median(times), max(times)
    return f"typed to seen: median {middle:.1f} ms, most {most:.1f} ms, of {COUNT}"


async def scrolling(browser: Browser, api: str) -> list[str]:
    ann, bob = await _two(browser, api)
    scroller = await open_long_chat(ann, bob, count=LONG, last="the last one")
    said = []
    # As with a finger, and as with a wheel that is turned fast.
    for pixels in (20, -120, 400):
        await scroller.evaluate("(list) => { list.scrollTop = list.scrollHeight / 2; }")
        times: list[float] = await scroller.evaluate(_SCROLL, [FRAMES, pixels])
        middle, most = statistics.median(times), max(times)
        far = statistics.quantiles(times, n=100)[98]
        late = sum(time > LATE_MS for time in times)
        said.append(
            f"scrolling by {pixels} px a frame: median {middle:.1f} ms, p99 {far:.1f} ms,"
            f" most {most:.1f} ms, {late} of {FRAMES} frames late"
        )
    jumps = [await scroller.evaluate(_JUMP, part / 50) for part in range(1, 50, 2)]
    most = max(jumps)
    said.append(f"after a jump: median {statistics.median(jumps):.1f} ms, most {most:.1f} ms")
    nodes = await ann.page.evaluate("document.querySelectorAll('*').length")
    said.append(f"{LONG} messages, {nodes} elements in the page")
    await _close(ann, bob)
    return said


async def _two(browser: Browser, api: str) -> tuple[Visitor, Visitor]:
    ann, bob = await Visitor.open(browser, api), await Visitor.open(browser, api)
    await ann.create_account("ann")
    await bob.create_account("bob")
    return ann, bob


async def _close(*visitors: Visitor) -> None:
    for visitor in visitors:
        await visitor.page.context.close()


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            asyncio.timeout(LIMIT_S),
            await asyncio.to_thread(System.start, Path(folder) / "system") as system,
            chromium() as browser,
        ):
            api = system.ready.api
            said = [await typed_to_seen(browser, api), *await scrolling(browser, api)]
    sys.stdout.write("\n".join([*said, ""]))


if __name__ == "__main__":
    asyncio.run(main())
