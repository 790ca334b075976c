"""What an operator's server does to a service: it becomes read-only, and asks for TLS or a password."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, text

from im_common.runtime.faults import is_outage
from im_common.runtime.sections import DbConf
from im_common.sql.db import Database
from im_common.sql.direct import Statement, send
from im_common.testing.databases import mysql_server
from im_common.testing.mariadb import MariadbServer

# Neither ASCII nor Latin-1.
PASSWORD = "пароль-密码-ü"

pytestmark = pytest.mark.skipif(
    mysql_server() is None or not shutil.which("mariadbd", path="/usr/sbin:/usr/bin"),
    reason="needs MariaDB as scripts/infra installs it",
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, and signed by it server.pem for 127.0.0.1 and client.pem; other.pem is another CA."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    for ca in ("ca", "other"):
        openssl(*new, "-x509", "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}")
    for name in ("server", "client"):
        openssl(*new[:4], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
        files = ("-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", f"{name}.ext")
        openssl("x509", "-req", *signed, *files)
    return folder


@pytest.fixture(scope="module")
def server(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariadbServer]:
    server = MariadbServer(
        tmp_path_factory.mktemp("mariadb"),
        password=PASSWORD,
        settings=[
            f"--ssl-ca={certificates / 'ca.pem'}",
            f"--ssl-cert={certificates / 'server.pem'}",
            f"--ssl-key={certificates / 'server.key'}",
        ],
    )
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _conf(server: MariadbServer, **more: Any) -> DbConf:
    return DbConf(data_source=server.source, password=SecretStr(PASSWORD), **more)


@pytest.fixture
async def db(server: MariadbServer) -> AsyncIterator[Database]:
    db = Database(_conf(server))
    await db.write(
        _execute, "CREATE TABLE IF NOT EXISTS seen (id BIGINT AUTO_INCREMENT PRIMARY KEY)"
    )
    yield db
    await db.close()


def _execute(connection: Connection, statement: str) -> None:
    connection.execute(text(statement)).close()


def _connection_id(connection: Connection) -> int:
    return int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())


def _cipher(connection: Connection) -> str:
    return str(connection.execute(text("SHOW STATUS LIKE 'Ssl_cipher'")).one()[1])


def _on_the_driver(connection: Connection, statement: str) -> None:
    send(connection, Statement(statement))


@pytest.mark.parametrize(
    "write", [_execute, _on_the_driver], ids=["by SQLAlchemy", "on the driver"]
)
async def test_a_primary_that_became_read_only_is_left(
    db: Database, server: MariadbServer, write: Callable[[Connection, str], None]
) -> None:
    await db.ping()
    before = {await db.write(_connection_id), await db.read(_connection_id)}
    await server.execute("SET GLOBAL read_only = 1")
    try:
        with pytest.raises(Exception) as caught:
            await db.write(write, "INSERT INTO seen VALUES ()")
        assert is_outage(caught.value)
    finally:
        await server.execute("SET GLOBAL read_only = 0")

    # Also those connections that nobody wrote by: they would go on to read what is old.
    assert before.isdisjoint({await db.write(_connection_id), await db.read(_connection_id)})
    await db.write(_execute, "INSERT INTO seen VALUES ()")


async def test_a_service_is_not_ready_while_nothing_can_be_written(
    db: Database, server: MariadbServer
) -> None:
    await server.execute("SET GLOBAL read_only = 1")
    try:
        with pytest.raises(Exception) as caught:
            await db.ping()
        assert is_outage(caught.value)
    finally:
        await server.execute("SET GLOBAL read_only = 0")
    await db.ping()


async def test_a_password_may_have_any_letters(db: Database) -> None:
    assert await db.read(_cipher) == ""


@pytest.mark.parametrize("tls", ["required", "verify_ca", "verify_identity"])
async def test_what_is_said_to_the_server_is_encrypted(
    server: MariadbServer, certificates: Path, tls: str
) -> None:
    files = {} if tls == "required" else {"tls_ca_file": str(certificates / "ca.pem")}
    db = Database(_conf(server, tls=tls, **files))
    try:
        assert await db.read(_cipher)
        assert await db.write(_cipher)
    finally:
        await db.close()


@pytest.mark.parametrize(
    ("tls", "ca", "host"),
    [("verify_ca", "other.pem", "127.0.0.1"), ("verify_identity", "ca.pem", "localhost")],
)
async def test_a_server_that_is_another_one_is_not_spoken_to(
    server: MariadbServer, certificates: Path, tls: str, ca: str, host: str
) -> None:
    conf = _conf(server, tls=tls, tls_ca_file=str(certificates / ca))
    source = conf.data_source.replace("127.0.0.1", host)
    db = Database(conf.model_copy(update={"data_source": source}))
    try:
        with pytest.raises(ConnectionError, match="certificate"):
            await db.ping()
    finally:
        await db.close()


async def test_a_client_shows_its_certificate_where_it_must(
    server: MariadbServer, certificates: Path
) -> None:
    own = {
        f"tls_{kind}_file": str(certificates / f"client.{end}")
        for kind, end in (("cert", "pem"), ("key", "key"))
    }
    await server.execute("ALTER USER im@127.0.0.1 REQUIRE X509")
    try:
        for files, is_let_in in (({}, False), (own, True)):
            db = Database(_conf(server, tls="required", **files))
            try:
                if is_let_in:
                    await db.ping()
                else:
                    with pytest.raises(ConnectionError, match="1045"):
                        await db.ping()
            finally:
                await db.close()
    finally:
        await server.execute("ALTER USER im@127.0.0.1 REQUIRE NONE")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    conf = DbConf(tls="verify_ca", tls_ca_file=str(tmp_path / "none.pem"))
    with pytest.raises(ValueError, match=r"DB\.Tls.*none\.pem"):
        Database(conf)
