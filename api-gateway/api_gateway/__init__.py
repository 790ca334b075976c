"""The HTTP face of the backend: translates between JSON and the gRPC of the services."""

from im_common import __version__

__all__ = ["__version__"]
