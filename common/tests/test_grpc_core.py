"""What the core of gRPC is told, and when."""

import os
import subprocess
import sys

import pytest

SERVES = """if True:
    import os, sys
    from im_common.runtime import cli, grpc_core
    assert not [name for name in sys.modules if name.startswith("grpc.")], "it is loaded already"
    grpc_core.tell()
    print(os.environ["GRPC_EXPERIMENTS"])
"""


@pytest.mark.parametrize("said", [None, "event_engine_fork"])
def test_it_is_told_before_it_is_loaded_unless_the_environment_says_something_else(
    said: str | None,
) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}
    if said is not None:
        environ["GRPC_EXPERIMENTS"] = said
    done = subprocess.run(
        [sys.executable, "-c", SERVES], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == (said or "-event_engine_client,-event_engine_listener"), done
