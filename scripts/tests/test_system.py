"""The table of processes: ports, variables, and what ready.json says of them."""

import asyncio
import contextlib
import itertools
import shutil
import socket
import sys
from pathlib import Path

import pytest

from im_local.errors import LocalError, PortTaken
from im_local.infra_file import read_infra
from im_local.launch import backend
from im_local.paths import DataDir
from im_local.ports import HOST, Wanted, ensure_free, spare_ports
from im_local.processes import parse_scale
from im_local.system import System, base_ports
from im_local.testing import OFFSETS, free_port_offset

INFRA = """
mysql: {host: 127.0.0.1, port: 13394, user: im, password_file: secrets/pw}
kafka: {brokers: ["127.0.0.1:19092"]}
redis: {host: 127.0.0.1, port: 16395}
etcd: {hosts: ["127.0.0.1:12396"]}
pids: {kafka: 4711}
"""

CLAIM = """
import sys
from im_local.ports import claim
print(claim(int(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def infra_file(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "pw").write_text("hidden\n")
    file = tmp_path / "infra.yaml"
    file.write_text(INFRA)
    return file


def test_an_offset_moves_every_port(tmp_path: Path) -> None:
    """And no port is wanted twice."""
    system = System(DataDir(tmp_path), port_offset=7)
    ports = [port for p in system.servers() + system.services() for port in p.ports.values()]
    assert sorted(ports) == sorted(base + 7 for base in base_ports())
    assert len(set(ports)) == len(ports)


def test_the_embedded_system_describes_itself(tmp_path: Path) -> None:
    described = System(DataDir(tmp_path), port_offset=1).describe()
    assert described["api"] == "http://127.0.0.1:8081"
    assert described["ws"] == "ws://127.0.0.1:8082/ws/connect"
    assert set(described["grpc"]) == {"user", "auth", "friend", "group", "chat", "ws"}
    assert described["grpc"]["user"] == "127.0.0.1:50052"
    assert described["redis"] == "redis://127.0.0.1:16371/0"
    assert not {"kafka", "mysql"} & set(described)


def test_further_instances_have_names_and_ports_of_their_own(tmp_path: Path) -> None:
    """And the first keep theirs."""
    scale = parse_scale(["ws-gateway=3", "chat-mq=2"])
    alone, scaled = System(DataDir(tmp_path)), System(DataDir(tmp_path), scale=scale)
    processes = {process.name: process for process in scaled.services()}
    more = {"ws-gateway-2", "ws-gateway-3", "chat-mq-2"}
    assert processes.keys() - {process.name for process in alone.services()} == more
    assert all(processes[p.name].ports == p.ports for p in alone.services())
    ports = [port for p in scaled.servers() + scaled.services() for port in p.ports.values()]
    assert len(set(ports)) == len(ports) == len(base_ports()) + 7
    described = scaled.describe()
    assert described["ws_gateways"] == [
        f"ws://127.0.0.1:{processes[name].ports['WebSocket']}/ws/connect"
        for name in ("ws-gateway", "ws-gateway-2", "ws-gateway-3")
    ]
    assert described["ws"] == described["ws_gateways"][0] == alone.describe()["ws"]
    assert described["grpc"] == alone.describe()["grpc"]
    assert described["dev"].keys() >= more


@pytest.mark.parametrize(
    "text", ["ws=2", "ws-gateway", "ws-gateway=0", "chat-mq=two", "chat=-1", "chat=33"]
)
def test_a_scale_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(LocalError, match=f"--scale {text}: N"):
        parse_scale(["user=2", text])


def test_services_that_share_a_database_are_offered_the_same(tmp_path: Path) -> None:
    """Its path is absolute, and a gateway gets none."""
    offers = {p.name: p.offers for p in System(DataDir(tmp_path)).services()}
    source = offers["chat"]["IM_DB__DATA_SOURCE"]
    assert source == f"sqlite+aiosqlite:///{tmp_path}/sqlite/im_chat.db"
    assert offers["chat-mq"]["IM_DB__DATA_SOURCE"] == source
    assert "IM_DB__DATA_SOURCE" not in offers["ws-gateway"]


def test_other_servers_replace_the_embedded_ones(infra_file: Path, tmp_path: Path) -> None:
    """The password goes only to the services, never into ready.json."""
    system = System(DataDir(tmp_path), infra=read_infra(infra_file))
    assert system.servers() == []
    offers = {p.name: p.offers for p in system.services()}["user"]
    assert offers["IM_DB__DATA_SOURCE"] == "mysql+asyncmy://im@127.0.0.1:13394/im_user"
    assert offers["IM_DB__PASSWORD"] == "hidden"
    assert offers["IM_BUS__BROKERS"] == "127.0.0.1:19092"
    assert system.describe()["mysql"] == "mysql://im@127.0.0.1:13394"
    assert "hidden" not in str(system.describe()) + repr(system)


def test_what_the_infra_file_says_of_tls_reaches_the_services(
    infra_file: Path, tmp_path: Path
) -> None:
    tls = "password_file: secrets/pw, tls: verify_ca, tls_ca_file: ca.pem}"
    infra_file.write_text(INFRA.replace("password_file: secrets/pw}", tls))
    system = System(DataDir(tmp_path), infra=read_infra(infra_file))
    offers = {p.name: p.offers for p in system.services()}["user"]
    assert offers["IM_DB__TLS"] == "verify_ca"
    assert offers["IM_DB__TLS_CA_FILE"] == str(tmp_path / "ca.pem")


def test_what_the_infra_file_says_of_kafka_and_etcd_reaches_the_services(
    infra_file: Path, tmp_path: Path
) -> None:
    """As their settings are called; the passwords are never in ready.json."""
    (tmp_path / "secrets" / "other").write_text("concealed\n")
    kafka = "username: im, password_file: secrets/pw, tls: verify_ca, tls_ca_file: ca.pem"
    etcd = "user: im, password_file: secrets/other, ca_cert_file: /etc/ca.pem"
    text = INFRA.replace('19092"]', f'19092"], replication: 3, {kafka}')
    infra_file.write_text(text.replace('12396"]', f'12396"], {etcd}'))
    system = System(DataDir(tmp_path), infra=read_infra(infra_file))
    offers = {p.name: p.offers for p in system.services()}["chat-mq"]
    assert {name: offers[f"IM_BUS__{name}"] for name in ("USERNAME", "PASSWORD", "TLS")} == {
        "USERNAME": "im",
        "PASSWORD": "hidden",
        "TLS": "verify_ca",
    }
    assert offers["IM_BUS__TLS_CA_FILE"] == str(tmp_path / "ca.pem")
    assert offers["IM_BUS__REPLICATION"] == "3"
    assert (offers["IM_ETCD__USER"], offers["IM_ETCD__PASSWORD"]) == ("im", "concealed")
    assert offers["IM_ETCD__CA_CERT_FILE"] == "/etc/ca.pem"
    assert not {name for name in offers if name.endswith("PASSWORD_FILE")}
    shown = str(system.describe()) + repr(system)
    assert "hidden" not in shown
    assert "concealed" not in shown


def test_what_the_infra_file_says_of_s3_reaches_the_services(
    infra_file: Path, tmp_path: Path
) -> None:
    s3 = "{endpoint: 'http://127.0.0.1:12470', bucket: im, secret_access_key_file: secrets/key}"
    infra_file.write_text(f"{INFRA}s3: {s3}\n")
    offers = System(DataDir(tmp_path), infra=read_infra(infra_file)).shared_offers()
    assert offers["IM_FILES__S3__ENDPOINT"] == "http://127.0.0.1:12470"
    assert offers["IM_FILES__S3__BUCKET"] == "im"
    assert offers["IM_FILES__S3__SECRET_ACCESS_KEY_FILE"] == str(tmp_path / "secrets/key")


def test_what_the_infra_file_says_of_tls_between_the_services_reaches_them(
    infra_file: Path, tmp_path: Path
) -> None:
    infra_file.write_text(f"{INFRA}rpc_tls: {{ca_cert_file: secrets/ca.pem}}\n")
    system = System(DataDir(tmp_path), infra=read_infra(infra_file))
    for process in system.services():
        assert process.offers["IM_RPC_TLS__CA_CERT_FILE"] == str(tmp_path / "secrets/ca.pem")


def test_an_infra_file_that_lacks_a_server_is_refused(infra_file: Path) -> None:
    infra_file.write_text(INFRA.replace("kafka: {b", "other: {b"))
    with pytest.raises(LocalError, match="kafka is missing"):
        read_infra(infra_file)


@pytest.mark.parametrize(
    ("free_mib", "is_new", "is_refused"), [(100, True, True), (9, False, True), (100, False, False)]
)
def test_a_full_disk_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, is_new: bool, is_refused: bool
) -> None:
    """A system that was there has what etcd takes at once."""
    if not is_new:
        (tmp_path / "etcd").mkdir()
    free = shutil.disk_usage(tmp_path)._replace(free=free_mib * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: free)
    refused = pytest.raises(LocalError, match=f"has {free_mib} MiB left")
    with refused if is_refused else contextlib.nullcontext():
        backend(DataDir(tmp_path), port_offset=0, infra_file=None)


async def test_an_offset_past_the_last_port_is_refused(tmp_path: Path) -> None:
    system = System(DataDir(tmp_path), port_offset=20_000)
    wanted = [port for p in system.services() for port in p.wanted_ports()]
    with pytest.raises(LocalError, match="choose another offset"):
        await ensure_free(wanted, say=print)


async def test_what_another_start_is_about_to_take_is_refused() -> None:
    """Nobody listens yet: both would go on, and one answer for the other."""
    (port,) = itertools.islice(spare_ports(), 1)
    command = [sys.executable, "-P", "-c", CLAIM, str(port)]
    pipe = asyncio.subprocess.PIPE
    other = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert other.stdout
    assert await other.stdout.readline() == b"True\n"
    wanted = [Wanted(port, "user", "gRPC")]
    with pytest.raises(PortTaken, match=f"Port {port}, which user needs .* another start"):
        await ensure_free(wanted, say=print)
    await other.communicate(b"")
    await ensure_free(wanted, say=print)


async def test_a_port_of_ours_is_kept_for_its_server() -> None:
    """From outgoing connections, which take what nobody has bound: at the first start and later."""
    (port,) = itertools.islice(spare_ports(), 1)
    await ensure_free([Wanted(port, "user", "gRPC")], say=print)
    for _ in range(2):
        with socket.socket() as outgoing, pytest.raises(OSError, match="in use"):
            outgoing.bind((HOST, port))
        server = await asyncio.start_server(lambda _r, _w: None, HOST, port)
        server.close()
        await server.wait_closed()


def test_a_test_gets_ports_that_no_outgoing_connection_takes() -> None:
    """Linux takes 32768 to 60999 for those."""
    for offset in (OFFSETS[0], OFFSETS[-1]):
        ports = [base + offset for base in base_ports()]
        assert all(1024 < port < 32768 or 60999 < port < 65536 for port in ports)
    assert free_port_offset() in OFFSETS
