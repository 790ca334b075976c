"""Credentials, sessions and signing keys."""

from im_common import __version__

__all__ = ["__version__"]
