"""What operators see of a running system, and do with it: `im-admin`.

The functions of `accounts`, `audit` and so on take an `Operator` and give plain values, as JSON has
them; `cli` is one face of them.
"""

from im_common import __version__

__all__ = ["__version__"]
