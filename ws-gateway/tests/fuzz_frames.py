"""Coverage-guided fuzzing of what a client may send, for as long as one likes; no part of the tests.

    pip install atheris        (into an environment of its own, which has this project's, too)
    python ws-gateway/tests/fuzz_frames.py decode|play -runs=1000000 FOLDER

FOLDER keeps what was found interesting. For `decode` each input is a frame. For `play` it is a
connection: its lines are its frames, those that begin with NUL binary ones. It ends with a traceback
and the input when a frame does what the protocol does not say (`ws_play.py`).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["im_common.domain", "ws_gateway.logic.inbound"]):
    from ws_play import play

    from im_common.domain import frames

_loop = asyncio.new_event_loop()


def decode(data: bytes) -> None:
    try:
        frames.decode(data.decode(errors="replace"))
    except frames.BadFrame as error:
        frames.error_frame(error, error.client_msg_id)


def played(data: bytes) -> None:
    lines = data.split(b"\n")[:64]
    texts = [line if line[:1] == b"\0" else line.decode(errors="replace") for line in lines]
    _loop.run_until_complete(play(texts))


if __name__ == "__main__":
    asyncio.set_event_loop(_loop)
    what = {"decode": decode, "play": played}[sys.argv.pop(1)]
    atheris.Setup(sys.argv, what)
    atheris.Fuzz()
