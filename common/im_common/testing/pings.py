"""Makes gRPC notice a frozen peer in a second, so that a test need not wait for it."""

from __future__ import annotations

from pydoc import locate

import pytest

_HASTENED = {"grpc.keepalive_time_ms": 500, "grpc.http2.ping_timeout_ms": 500}


def hasten_pings(monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    """Shortens the pings' times in the channel options at the dotted name ``options``.

    An option that is not there is not added: the test is about those that the code has.
    """
    found = locate(options)
    assert isinstance(found, list)
    monkeypatch.setattr(options, [(name, _HASTENED.get(name, value)) for name, value in found])
