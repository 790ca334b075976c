"""Progress in plain lines, each with the seconds since the start."""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

Say = Callable[[str], None]


class Console:
    """Prints to `stream`, and to `listener` too while there is one; never fails the caller."""

    def __init__(self, stream: TextIO | None = None, listener: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._listener = listener
        self._started = time.monotonic()
        self._colour = self._stream.isatty()

    def step(self, text: str) -> None:
        """A line of progress."""
        stamp = f"[{time.monotonic() - self._started:5.1f} s]"
        self._write(f"\033[2m{stamp}\033[0m {text}" if self._colour else f"{stamp} {text}")

    def block(self, text: str) -> None:
        """Text as it is."""
        self._write(text)

    def hang_up(self, last_line: str) -> None:
        """Give the listener its last line and let it go."""
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        try:
            listener.write(last_line + "\n")
            listener.close()
        except OSError:
            pass

    def _write(self, line: str) -> None:
        for stream in filter(None, (self._stream, self._listener)):
            try:
                stream.write(line + "\n")
                stream.flush()
            except OSError:
                # The terminal or the waiting caller is gone; the system must go on without it.
                _lead_nowhere(stream)


def _lead_nowhere(stream: TextIO) -> None:
    # Also for others: who starts a process by the fork server flushes standard output first, and none
    # would be started any more.
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
