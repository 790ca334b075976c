"""The operators' page, before services that answer what a test tells them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from im.auth.v1 import admin_pb2 as pb
from im_common.errors import AppError, Code

# Fixtures' classes, of conftest.py, which tests do not import.
Gateway = Any
Start = Any

LOGIN = {"username": "ann", "password": "correct horse"}
ANN = pb.AdminSession(user_id=1001, username="ann", expires_at=int(time.time() * 1000) + 60_000)
OPENED = pb.OpenAdminSessionResponse(token="a.token", session=ANN)


@asynccontextmanager
async def page_of(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    url = f"http://127.0.0.1:{gateway.resources.dev_server.port}"
    headers = {"sec-fetch-site": "same-origin"}
    async with httpx.AsyncClient(base_url=url, timeout=15, headers=headers) as page:
        yield page


async def test_log_ins_are_counted_by_the_address_that_connects(start: Start) -> None:
    few = {"address_per_second": 0.01, "address_burst": 3}
    sections = {"rate_limits": "on", "rates": {"login": few}}
    async with start(sections=sections) as gateway, page_of(gateway) as page:
        wrong = AppError(Code.INVALID_CREDENTIALS, "the username or the password is wrong")
        gateway.services.answers["OpenAdminSession"] = wrong
        statuses = []
        for n in range(4):
            elsewhere = {"x-forwarded-for": f"192.0.2.{n}"}
            answer = await page.post("/admin/login", data=LOGIN, headers=elsewhere)
            statuses.append(answer.status_code)
        assert statuses == [401, 401, 401, 429]
        assert gateway.services.last.request.client_address == "127.0.0.1"


async def test_a_cookie_that_came_by_tls_stays_there(gateway: Gateway) -> None:
    gateway.services.answers |= {
        "OpenAdminSession": OPENED,
        "BeginDeed": pb.BeginDeedResponse(deed_id=1),
        "EndDeed": pb.EndDeedResponse(),
    }
    async with page_of(gateway) as page:
        by_tls = {"x-forwarded-proto": "https"}
        answer = await page.post("/admin/login", data=LOGIN, headers=by_tls)
        assert (answer.status_code, "Secure" in answer.headers["set-cookie"]) == (303, True)
        answer = await page.post("/admin/login", data=LOGIN)
        assert "Secure" not in answer.headers["set-cookie"]


async def test_who_cannot_be_noted_does_not_get_in(gateway: Gateway) -> None:
    gateway.services.answers |= {
        "OpenAdminSession": OPENED,
        "BeginDeed": AppError(Code.UNAVAILABLE, "away"),
        "EndAdminSession": pb.EndAdminSessionResponse(),
    }
    async with page_of(gateway) as page:
        answer = await page.post("/admin/login", data=LOGIN)
    assert (answer.status_code, "set-cookie" in answer.headers) == (503, False)
    assert gateway.services.last.method == "EndAdminSession"


async def test_the_port_answers_while_services_are_away(gateway: Gateway) -> None:
    gateway.services.answers["CheckAdminSession"] = AppError(Code.UNAVAILABLE, "away")
    async with page_of(gateway) as page:
        page.cookies.set("im_admin", "a.token", path="/admin")
        assert (await page.get("/admin")).status_code == 503
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await page.get(path)).status_code == 200


@pytest.mark.parametrize("before", ["", "x", "-1", "٣", "9" * 19, "9" * 5000])
async def test_what_is_no_seq_is_refused(gateway: Gateway, before: str) -> None:
    gateway.services.answers["CheckAdminSession"] = pb.CheckAdminSessionResponse(session=ANN)
    wanted = {"conversation": "s:1001:1002", "reason": "report 17", "before": before}
    async with page_of(gateway) as page:
        page.cookies.set("im_admin", "a.token", path="/admin")
        answer = await page.post("/admin/messages", data=wanted)
    assert (answer.status_code, "before must be" in answer.text) == (400, True)
