"""`scripts/bench bare`, from its processes to its table."""

from __future__ import annotations

import json
from pathlib import Path

from im_bench.__main__ import main


def test_messages_go_the_bare_way_and_it_is_told_how_much_longer_ours_is(tmp_path: Path) -> None:
    out = tmp_path / "bare.json"
    load = ["--pairs", "2", "--in-flight", "2", "--turns", "1", "--seconds", "0.5"]
    assert main(["bare", *load, "--json", str(out)]) == 0
    ratios = json.loads(out.read_text())["ratios"]
    assert ratios["delivered: a second"][0] > 0
    assert {"chat-mq: ms CPU each 1,000", "ws-gateway: ms CPU each 1,000"} <= ratios.keys()
