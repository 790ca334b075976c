"""Real servers for the tests of common."""

from im_common.testing.fixtures import redis, valkey

__all__ = ["redis", "valkey"]
