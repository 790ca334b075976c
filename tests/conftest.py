"""The whole system for the tests across services.

It runs on the embedded default, or on the real servers that IM_TEST_INFRA names (the file that
`scripts/infra up` writes).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from im_browser import chromium
from im_clients import People
from im_infra import INFRA, LossyMysql
from im_people import Connect, Device, MakeUser, User, register
from playwright.async_api import Browser

from im_local.infra_file import read_infra
from im_local.testing import System


@pytest.fixture(scope="session")
def mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LossyMysql | None]:
    """What stands between the services and MySQL and reads along; None on the embedded default, and
    where all is to be encrypted."""
    if INFRA is None or read_infra(Path(INFRA).resolve()).rpc_tls:
        yield None
        return
    with LossyMysql(Path(INFRA).resolve(), tmp_path_factory.mktemp("mysql")) as between:
        yield between


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory, mysql: LossyMysql | None) -> Iterator[System]:
    infra = mysql.infra if mysql else Path(INFRA).resolve() if INFRA else None
    folder = tmp_path_factory.mktemp("system")
    # Tests send faster than a person types; what the limits do has tests of its own. And each registers
    # somebody, with a password that at the usual cost takes a quarter of a second of a core.
    env = {"IM_RATE_LIMITS": "off", "IM_BCRYPT_COST": "4"}
    # The real servers are for several instances.
    scale = {"ws-gateway": 2, "chat-mq": 2} if infra else {}
    with System.start(folder, infra=infra, env=env, scale=scale) as running:
        yield running


@pytest.fixture
async def http(system: System) -> AsyncIterator[httpx.AsyncClient]:
    # Reading certificates, which there is no use for, takes a tenth of a second.
    client = httpx.AsyncClient(
        base_url=system.ready.api,
        timeout=15,
        verify=False,
        # Where files are in a bucket, that is where they are had from.
        follow_redirects=True,
    )
    async with client:
        yield client


@pytest.fixture
def new_user(http: httpx.AsyncClient) -> MakeUser:
    async def make() -> User:
        return await register(http)

    return make


@pytest.fixture
async def people(system: System) -> AsyncIterator[People]:
    async with People(system) as some:
        yield some


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest.fixture
async def online(system: System) -> AsyncIterator[Connect]:
    """Connects devices; those still open are closed at the end."""
    devices: list[Device] = []

    async def connect(
        user: User, *, confirm: bool = True, query: str = "", url: str | None = None
    ) -> Device:
        at = url or system.any_ws()
        device = await Device.connect(at, user, confirm=confirm, query=query)
        devices.append(device)
        return device

    yield connect
    for device in devices:
        await device.close()
