"""Groups and their members."""

from im_common import __version__

__all__ = ["__version__"]
