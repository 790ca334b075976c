"""Long connections: frames in, frames out."""

from im_common import __version__

__all__ = ["__version__"]
