"""The JavaScript client on the whole system; its tests are its own, and run in Node."""

from __future__ import annotations

import pytest
from im_node import WEB, node

from im_local.paths import ROOT
from im_local.testing import System

TESTS = sorted((WEB / "im-client" / "tests").glob("*.test.js"))


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
async def test_the_client_module_does_what_its_tests_say(system: System, file: object) -> None:
    await node("--test", "--test-reporter=spec", str(file), system=system)


async def test_the_example_of_the_documentation_runs(system: System) -> None:
    text = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    example = text.split("```js\n")[1].split("```")[0]
    assert len(example.splitlines()) <= 20
    # From the folder of the package its name leads to itself.
    said = await node(
        "--input-type=module", "--eval", example, system=system, folder=WEB / "im-client"
    )
    assert said == "1: hello\n"
