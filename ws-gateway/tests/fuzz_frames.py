"""Coverage-guided fuzzing of what a client may send, for as long as one likes; no part of the tests.

    pip install atheris        (into an environment of its own, which has this project's, too)
    python ws-gateway/tests/fuzz_frames.py decode|play FOLDER -runs=1000000

FOLDER keeps what was found interesting; a new one begins with the frames of docs/protocol.md. For
`decode` each input is a frame. For `play` it is a connection: its lines are its frames, those that
begin with NUL binary ones. It says now and then how many it has tried, and ends with a traceback and
the input when a frame does what the protocol does not say (`ws_play.py`).
"""

from __future__ import annotations

import asyncio
import re
import sys
from itertools import count
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["im_common.domain", "ws_gateway.logic.inbound"]):
    from ws_play import play

    from im_common.domain import frames

PAGE = Path(__file__).parents[2] / "docs/protocol.md"
SAY_EVERY = 10_000
_loop = asyncio.new_event_loop()
_inputs = count(1)
_frames = 0


def decode(data: bytes) -> None:
    try:
        frames.decode(data.decode(errors="replace"))
    except frames.BadFrame as error:
        frames.error_frame(error, error.client_msg_id)
    _count(1)


def played(data: bytes) -> None:
    lines = data.split(b"\n")[:64]
    texts = [line if line[:1] == b"\0" else line.decode(errors="replace") for line in lines]
    _count(_loop.run_until_complete(play(texts)))


def _count(taken: int) -> None:
    global _frames
    _frames += taken
    if (number := next(_inputs)) % SAY_EVERY == 0:
        print(f"{number} inputs, {_frames} frames", flush=True)  # noqa: T201


def begin(folder: Path) -> None:
    """With what a client sends by the page, each frame alone and all of them one after the other."""
    examples = re.findall(r"```json client[^\n]*\n(.*?)\n```", PAGE.read_text("utf-8"), re.DOTALL)
    folder.mkdir(parents=True)
    for number, text in enumerate([*examples, "\n".join(examples)]):
        (folder / f"example-{number}").write_text(text, "utf-8")


if __name__ == "__main__":
    asyncio.set_event_loop(_loop)
    what = {"decode": decode, "play": played}[sys.argv.pop(1)]
    if not (folder := Path(sys.argv[1])).exists():
        begin(folder)
    atheris.Setup(sys.argv, what)
    atheris.Fuzz()
