"""A child that the kernel kills when its parent ends, in whatever way that ends."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with(parent: int) -> None:
    """Called by a child of `parent`: the kernel is to send it SIGKILL when the parent has ended.

    Only Linux can do so; elsewhere it does nothing.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    # The parent may have died before the request.
    if os.getppid() != parent:
        os._exit(1)
