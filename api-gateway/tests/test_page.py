"""The web client's files: whole, packed, guarded; and where it learns of the gateways."""

from __future__ import annotations

import re
from typing import Any

import pytest

from api_gateway.config import WebConf

# Fixtures' classes, of conftest.py, which tests do not import.
Gateway = Any


async def test_the_page_is_served_at_the_root_with_all_that_it_names(gateway: Gateway) -> None:
    page = await gateway.anonymous("GET", "/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert "app.js" in named
    for name in [*named, "icon.svg"]:
        assert (await gateway.anonymous("GET", f"/{name}")).status_code == 200, name


async def test_no_script_or_style_is_in_the_page_itself_and_none_from_elsewhere(
    gateway: Gateway,
) -> None:
    page = await gateway.anonymous("GET", "/")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|//", page.text) == []
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_the_gateway_is_on_the_host_that_the_page_came_from_unless_named(
    gateway: Gateway,
) -> None:
    port = gateway.url.rpartition(":")[2]
    for host in ("127.0.0.1", "chat.example.com", "[::1]"):
        headers = {"Host": f"{host}:{port}"}
        config = await gateway.anonymous("GET", "/config.json", headers=headers)
        assert config.json() == {"ws": [f"ws://{host}:8081/ws/connect"]}
        assert config.headers["cache-control"] == "no-store"
        page = await gateway.anonymous("GET", "/", headers=headers)
        policy = page.headers["content-security-policy"]
        assert f"connect-src 'self' ws://{host}:8081/ws/connect;" in policy


async def test_a_host_header_writes_nothing_of_its_own_into_the_policy(gateway: Gateway) -> None:
    for host in ("a;script-src *", "a b", "ä"):
        page = await gateway.anonymous("GET", "/", headers={"Host": host.encode()})
        policy = page.headers.get("content-security-policy", "")
        assert page.status_code == 400 or re.search(
            r"connect-src 'self' ws://[\w.]+:8081/ws/connect; base-uri", policy
        )


async def test_only_addresses_of_websockets_are_taken_as_gateways() -> None:
    good = ["wss://chat.example.com/ws/connect", "ws://127.0.0.1:8081/ws/connect", "ws://[::1]:1/x"]
    assert WebConf(gateways=good).gateways == good
    for bad in ("https://a/ws", "ws://a/ws;script-src *", "ws://a b/", "chat.example.com"):
        with pytest.raises(ValueError, match="no WebSocket address"):
            WebConf(gateways=[bad])


async def test_a_file_is_packed_and_not_sent_again_to_who_has_it(gateway: Gateway) -> None:
    packed = await gateway.anonymous("GET", "/app.js", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    plain = await gateway.anonymous("GET", "/app.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == packed.text
    assert plain.headers["etag"] != packed.headers["etag"]
    headers = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["etag"]}
    again = await gateway.anonymous("GET", "/app.js", headers=headers)
    assert (again.status_code, again.content) == (304, b"")
    other = {**headers, "If-None-Match": '"something else"'}
    assert (await gateway.anonymous("GET", "/app.js", headers=other)).status_code == 200
