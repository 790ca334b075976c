"""Friend requests, friendships and block lists."""

from im_common import __version__

__all__ = ["__version__"]
