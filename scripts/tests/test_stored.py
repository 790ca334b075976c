"""`scripts/bench stored`, from its fill to its table, with few rows."""

from __future__ import annotations

import json
from pathlib import Path

from im_bench.__main__ import main


def test_the_load_goes_on_behind_what_was_filled_in_and_old_pages_are_read(tmp_path: Path) -> None:
    out = tmp_path / "stored.json"
    load = ["--pairs", "2", "--turns", "1", "--seconds", "0.5", "--reads", "2"]
    assert main(["stored", "--rows", "3000", "--few", "1000", *load, "--json", str(out)]) == 0
    told = json.loads(out.read_text())
    assert told["rows"]["fill 3000"].startswith("3000 messages in ")
    assert told["ratios"]["delivered: a second"][0] > 0
    assert {"page, oldest of 50", "sync of 50", "with many"} <= told["rows"].keys()
