"""One entry for each kind of log."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest
from pydantic import ValidationError
from redis.asyncio import Redis

from im_common.bus.kinds import KINDS, open_bus
from im_common.runtime.sections import BusConf

# The library of each; the others have no place in a process that does not use them.
_LIBRARIES = {"kafka": "aiokafka"}


def no_redis() -> Redis:
    raise AssertionError("nothing asks for it before it is used")


def test_a_further_kind_is_a_module_and_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    made = object()
    module = ModuleType("a_bus")
    module.open_bus = lambda conf, _redis: (conf.kind, made)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_bus", module)
    monkeypatch.setitem(KINDS, "another", "a_bus")
    assert open_bus(BusConf(kind="another"), no_redis) == ("another", made)


def test_a_kind_that_is_not_there_is_refused_with_the_names_of_those_that_are() -> None:
    with pytest.raises(ValidationError) as refused:
        BusConf(kind="rabbit")
    assert [name in str(refused.value) for name in KINDS] == [True] * len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_libraries_of_the_kind_in_use_are_loaded(kind: str) -> None:
    program = f"""
import sys
from im_common.bus.kinds import open_bus
from im_common.runtime.sections import BusConf
open_bus(BusConf(kind={kind!r}), None)
print(sorted({set(_LIBRARIES.values())!r} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == str([_LIBRARIES[kind]] if kind in _LIBRARIES else [])
