"""How sockets and proxies write a client's address, and under which one others find a process."""

from __future__ import annotations

import pytest

from im_common.runtime.addresses import advertised_address, own_address, read_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7 ", "203.0.113.7"),
        ("203.0.113.7:51234", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:51234", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_an_address_is_read(text: str, address: str) -> None:
    assert str(read_address(text)) == address


@pytest.mark.parametrize(
    "text",
    ["", "unknown", "_hidden", "203.0.113", "203.0.113.7:", "203.0.113.7:x", "[::1", "[::1]x"],
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"address"):
        read_address(text)


@pytest.mark.parametrize(
    ("listen_on", "advertise_on", "pod_ip", "told"),
    [
        ("127.0.0.1:5000", "", "", "127.0.0.1:5000"),
        ("127.0.0.1:0", "", "10.1.2.3", "127.0.0.1:5000"),
        ("0.0.0.0:5000", "", "10.1.2.3", "10.1.2.3:5000"),
        ("[::]:5000", "", "fd00::7", "[fd00::7]:5000"),
        (":5000", "", "10.1.2.3", "10.1.2.3:5000"),
        ("0.0.0.0:5000", "im.example.org:6000", "10.1.2.3", "im.example.org:6000"),
    ],
)
def test_others_are_told_an_address_that_they_can_connect_to(
    monkeypatch: pytest.MonkeyPatch, listen_on: str, advertise_on: str, pod_ip: str, told: str
) -> None:
    monkeypatch.setenv("POD_IP", pod_ip)
    assert advertised_address(listen_on, advertise_on, 5000) == told


@pytest.mark.parametrize("listen_on", ["0.0.0.0:5000", "[::]:5000"])
def test_without_a_pod_it_is_the_machines_own(
    monkeypatch: pytest.MonkeyPatch, listen_on: str
) -> None:
    monkeypatch.delenv("POD_IP", raising=False)
    own = read_address(own_address())
    assert not own.is_unspecified
    assert read_address(advertised_address(listen_on, "", 5000)) == own
