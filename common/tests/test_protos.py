"""What other languages make of the protos."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROTOS = Path(__file__).parents[1] / "proto"


@pytest.mark.parametrize("file", sorted(PROTOS.glob("im/**/*.proto")), ids=lambda file: file.name)
def test_a_go_package_is_its_folder_and_has_no_other_name(file: Path) -> None:
    """goctl writes code that does not compile where a name is given after the path."""
    found = re.search(r'^option go_package = "(.*)";$', file.read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == f"im.local/{file.parent.relative_to(PROTOS)}"
