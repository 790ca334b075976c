#!/usr/bin/env bash
# Playwright 1.65.2 (Python) on Chromium 153: `expect_file_chooser` misses some of the choosers that are
# opened by a key pressed as the first thing in its block.
#
# The block begins without waiting until the browser has been told to hand choosers over, and a key press
# goes to the page faster than that. The page has its click, the chooser is nobody's, and the block ends
# with a TimeoutError: a test that uses the keyboard alone fails once in ten to forty times. A click by the
# mouse, which looks for its element first, never was too fast, nor a key 100 ms later. So whatever takes
# a round trip to the page (finding the button by the tab key, say) belongs into the block as well.
#
# Seen, of 200: key 22 missed; key, 100 ms later 0; click 0. Each time the page had all 200 clicks.
# Exits 1 when no key is too fast any more. Needs Python, Node and npm, and Chromium's shared libraries.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q playwright==1.65.2
# Chromium as a package: one file, compressed.
npm install --silent --no-audit --no-fund --ignore-scripts @sparticuz/chromium@153.0.0
node - <<'JS'
const { createReadStream, createWriteStream } = require("node:fs");
const { createBrotliDecompress } = require("node:zlib");
createReadStream("node_modules/@sparticuz/chromium/bin/chromium.br")
  .pipe(createBrotliDecompress())
  .pipe(createWriteStream("chromium", { mode: 0o755 }));
JS

cat >choose.py <<'PY'
import asyncio
from pathlib import Path

from playwright.async_api import Page, TimeoutError, async_playwright

TIMES = 200
PAGE = """<input type="file" id="file" hidden>
<button onclick="window.clicks = (window.clicks || 0) + 1; file.click()">Attach</button>"""


async def key(page: Page) -> None:
    await page.keyboard.press("Enter")


async def key_later(page: Page) -> None:
    await asyncio.sleep(0.1)
    await page.keyboard.press("Enter")


async def click(page: Page) -> None:
    await page.locator("button").click()


async def missed(page: Page, opens) -> int:
    count = 0
    for _ in range(TIMES):
        await page.locator("button").focus()
        try:
            async with page.expect_file_chooser(timeout=1_500):
                await opens(page)
        except TimeoutError:
            count += 1
    return count


async def main() -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=Path("chromium").resolve(), args=["--no-sandbox"]
        )
        found = {}
        for name, opens in (("key", key), ("key, 100 ms later", key_later), ("click", click)):
            page = await browser.new_page()
            await page.set_content(PAGE)
            found[name] = await missed(page, opens)
            clicks = await page.evaluate("window.clicks")
            print(f"{name}: {found[name]} of {TIMES} missed; the page had {clicks} clicks")
        print(f"Chromium {browser.version}")
        await browser.close()
    raise SystemExit(not (found["key"] > 0 == found["click"]))


asyncio.run(main())
PY
venv/bin/python choose.py
