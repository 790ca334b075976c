"""How long it takes from the Enter key to the other one's page, in two windows of one Chromium.

`python -P tests/bench_web_client.py`, on a machine with nothing else to do.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

from im_browser import Visitor, chromium

from im_local.testing import System

COUNT = 50
# Both windows have one clock: what the browser says is milliseconds since the epoch.
_NOTE = """() => {
  window.seen = {};
  const look = () => {
    for (const text of document.querySelectorAll("article .text")) {
      window.seen[text.innerText] ??= performance.timeOrigin + performance.now();
    }
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter") window.typed = performance.timeOrigin + performance.now();
  }, true);
}"""


async def measure(api: str) -> list[float]:
    times = []
    async with chromium() as browser:
        ann, bob = await Visitor.open(browser, api), await Visitor.open(browser, api)
        await ann.create_account("ann")
        await bob.create_account("bob")
        await ann.open_chat(bob.name)
        await bob.open_chat(ann.name)
        for visitor in (ann, bob):
            await visitor.page.evaluate(_NOTE)
        for number in range(COUNT):
            await ann.page.get_by_role("textbox", name="Message").fill(f"number {number}")
            await ann.page.keyboard.press("Enter")
            await bob.message(f"number {number}").last.wait_for()
            typed = await ann.page.evaluate("window.typed")
            times.append(await bob.page.evaluate(f"window.seen['number {number}']") - typed)
    return times


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with await asyncio.to_thread(System.start, Path(folder) / "system") as system:
            times = await measure(system.ready.api)
    middle, most = statistics.median(times), max(times)
    sys.stdout.write(f"typed to seen: median {middle:.1f} ms, most {most:.1f} ms, of {COUNT}\n")


if __name__ == "__main__":
    asyncio.run(main())
