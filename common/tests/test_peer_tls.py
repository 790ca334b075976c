"""TLS between the services: real certificates, replaced while servers and clients run."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from im.gateway.v1.push_pb2_grpc import PushServiceStub, add_PushServiceServicer_to_server
from im_common.errors import AppError, Code
from im_common.rpc import peer_tls, server
from im_common.rpc.access import Gatekeeper
from im_common.rpc.client import BalancedChannel, connect
from im_common.rpc.peer_tls import PeerTls
from im_common.rpc.server import RpcServer
from im_common.runtime import context
from im_common.runtime.cli import Program, main
from im_common.runtime.config import ConfigError, RpcSettings, Settings, load
from im_common.runtime.context import Identity
from im_common.runtime.peer_files import read_peer_files
from im_common.runtime.sections import ClientConf, RpcTlsConf
from im_common.testing.certificates import PEER_NAME, Authority, Pair, PeerFolder
from im_common.testing.push_service import KICK, PUSH, TOKENS, Instance, failing
from im_common.testing.waiting import eventually

OLD, NEW = Authority("old"), Authority("new")
Held = Callable[[Any], Awaitable[None]]


class Nobody:
    async def verify(self, token: str) -> Identity:
        raise AppError(Code.TOKEN_EXPIRED, "nobody")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(peer_tls, "LOOK_EVERY_S", 0.02)
    token = context.current.set(None)
    yield
    context.current.reset(token)


@pytest.fixture
def folder(tmp_path: Path) -> PeerFolder:
    """What a process has that is like the others."""
    return PeerFolder(tmp_path).put(trusted=[OLD], pair=OLD.issue())


class Process:
    """Both sides of one: what it serves, and its channels to others."""

    def __init__(self, conf: RpcTlsConf, stack: AsyncExitStack) -> None:
        self.tls = PeerTls(conf)
        self._stack = stack
        following = asyncio.create_task(self.tls.follow())
        stack.callback(following.cancel)

    async def serve(self, behaviour: Held | None = None, host: str = "127.0.0.1") -> str:
        serving = RpcServer(
            listen_on=f"{host}:0",
            services=["im.gateway.v1.PushService"],
            register=lambda s: add_PushServiceServicer_to_server(Instance(behaviour), s),
            gatekeeper=Gatekeeper(Nobody(), TOKENS),
            timeout_ms=2000,
            tls=self.tls,
        )
        await serving.start()
        self._stack.push_async_callback(serving.stop, 0)
        return f"{host}:{serving.port}"

    async def channel(self, *addresses: str) -> BalancedChannel:
        channel = connect(ClientConf(endpoints=list(addresses)), None, TOKENS, self.tls)
        return await self._stack.enter_async_context(channel)


@asynccontextmanager
async def process(folder: PeerFolder) -> AsyncIterator[Process]:
    async with AsyncExitStack() as stack:
        yield Process(folder.conf, stack)


def channel_of(address: str, *, trusts: Authority, shows: Pair | None = None) -> grpc.aio.Channel:
    """A channel of gRPC's own."""
    credentials = grpc.ssl_channel_credentials(
        trusts.pem, shows.key if shows else None, shows.certificate if shows else None
    )
    options = [("grpc.default_authority", PEER_NAME), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(address, credentials, options)


async def status_of(stub: Any) -> str:
    """What a call ends with."""
    try:
        await stub.Kick(KICK, timeout=5, metadata=[(context.SERVICE_TOKEN, TOKENS.current())])
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def stranger(address: str, *, trusts: Authority, shows: Pair | None = None) -> str:
    """What a call on a new connection ends with."""
    async with channel_of(address, trusts=trusts, shows=shows) as channel:
        return await status_of(PushServiceStub(channel))


async def test_services_call_each_other_whatever_their_addresses_are(folder: PeerFolder) -> None:
    """The certificate has a name and no address; several instances are behind one channel."""
    async with process(folder) as one:
        addresses = [await one.serve(), await one.serve(host="127.0.0.2")]
        channel = await one.channel(*addresses)
        await asyncio.gather(*(PushServiceStub(channel).Kick(KICK) for _ in range(20)))


async def test_a_client_with_no_certificate_or_a_foreign_one_is_refused(folder: PeerFolder) -> None:
    async with process(folder) as one:
        address = await one.serve()
        assert await stranger(address, trusts=OLD) == "UNAVAILABLE"
        assert await stranger(address, trusts=OLD, shows=NEW.issue()) == "UNAVAILABLE"
        assert (
            await stranger(address, trusts=OLD, shows=OLD.issue(lasts=timedelta(seconds=-9)))
            == "UNAVAILABLE"
        )
        async with grpc.aio.insecure_channel(address) as plain:
            with pytest.raises(grpc.aio.AioRpcError):
                await PushServiceStub(plain).Kick(KICK, timeout=5)
        assert await stranger(address, trusts=OLD, shows=OLD.issue()) == "OK"


async def test_a_server_that_is_not_one_of_ours_is_not_spoken_to(folder: PeerFolder) -> None:
    class Foreign(PeerTls):
        """Shows what its own check would not let through."""

        shown = OLD.issue()

        def _in_force(self) -> grpc.ServerCertificateConfiguration:
            pairs = [(self.shown.key, self.shown.certificate)]
            return grpc.ssl_server_certificate_configuration(pairs, OLD.pem)

    async with process(folder) as one, process(folder) as other:
        other.tls = foreign = Foreign(folder.conf)
        address = await other.serve()
        await PushServiceStub(await one.channel(address)).Kick(KICK)
        for bad in (
            NEW.issue(),
            OLD.issue("another.internal"),
            OLD.issue(lasts=-timedelta(seconds=9)),
        ):
            foreign.shown = bad
            call = PushServiceStub(await one.channel(address)).Push(PUSH)
            assert (await failing(call)).code is Code.UNAVAILABLE


async def test_without_certificates_of_clients_there_is_still_tls(tmp_path: Path) -> None:
    folder = PeerFolder(tmp_path).put(trusted=[OLD], pair=OLD.issue())
    async with AsyncExitStack() as stack:
        asked = Process(folder.conf.model_copy(update={"client_certs": False}), stack)
        address = await asked.serve()
        only_checks = RpcTlsConf(ca_cert_file=folder.conf.ca_cert_file, client_certs=False)
        asking = Process(only_checks, stack)
        await PushServiceStub(await asking.channel(address)).Kick(KICK)
        assert await stranger(address, trusts=NEW) == "UNAVAILABLE"


async def test_new_files_are_used_for_new_connections_and_cut_no_call(folder: PeerFolder) -> None:
    """As an operator does it: trust both authorities, show what the new one signed, trust it alone."""
    entered, go_on = asyncio.Event(), asyncio.Event()
    shown: list[bytes] = []

    async def noted(call: Any) -> None:
        shown.extend(call.auth_context()["x509_pem_cert"])

    async def held(_call: Any) -> None:
        entered.set()
        await go_on.wait()

    async with process(folder) as one:
        address = await one.serve(noted)
        slow = PushServiceStub(await one.channel(await one.serve(held)))
        long_call = asyncio.ensure_future(slow.Kick(KICK))
        await entered.wait()
        stub = PushServiceStub(await one.channel(address))
        for trusted, pair in (([OLD, NEW], None), ([OLD, NEW], NEW.issue()), ([NEW], None)):
            before = one.tls.credentials
            folder.put(trusted=trusted, pair=pair)
            while one.tls.credentials is before:
                await stub.Push(PUSH)
            await stub.Push(PUSH)
            assert pair is None or shown[-1] == pair.certificate
        # Takes its place while the call before it still waits.
        second = asyncio.ensure_future(slow.Kick(KICK))
        go_on.set()
        assert (await long_call).closed == (await second).closed == 1
        assert await stranger(address, trusts=OLD, shows=OLD.issue()) == "UNAVAILABLE"
        assert await stranger(address, trusts=NEW, shows=OLD.issue()) == "UNAVAILABLE"
        assert await stranger(address, trusts=NEW, shows=NEW.issue()) == "OK"


async def test_who_is_trusted_no_longer_is_out_when_its_connection_is_old(
    folder: PeerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What connections are made anew all the time for costs no call."""
    monkeypatch.setattr(server, "_AGE_LIMITS", [("grpc.max_connection_age_ms", 200)])
    async with process(folder) as one:
        address = await one.serve()
        ours = PushServiceStub(await one.channel(address))
        pair = OLD.issue()
        async with channel_of(address, trusts=OLD, shows=pair) as channel:
            theirs = PushServiceStub(channel)
            assert await status_of(theirs) == "OK"
            folder.put(trusted=[NEW], pair=NEW.issue())
            async with asyncio.timeout(10):
                while await status_of(theirs) == "OK":
                    await ours.Push(PUSH)
        for _ in range(200):
            await ours.Push(PUSH)


async def test_files_that_do_not_fit_together_are_not_taken_until_they_do(
    folder: PeerFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    """A certificate and its key are replaced one after the other."""
    async with process(folder) as one:
        address = await one.serve()
        pair = NEW.issue()
        folder.put(pair=Pair(pair.certificate, _of_two().key))
        heard: list[str] = []

        async def is_told() -> bool:
            heard.append("".join(capfd.readouterr()))
            return "IM_RPC_TLS__CERT_KEY_FILE" in "".join(heard)

        await eventually(is_told)
        assert await stranger(address, trusts=OLD, shows=OLD.issue()) == "OK"
        before = one.tls.credentials
        folder.put(trusted=[NEW], pair=pair)
        async with asyncio.timeout(20):
            while one.tls.credentials is before:
                await asyncio.sleep(0.01)
        assert await stranger(address, trusts=NEW, shows=NEW.issue()) == "OK"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_commands_for_operators_make_files_that_can_be_used(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"^```\n(openssl .*?)^```", text, re.DOTALL | re.MULTILINE)
    subprocess.run(["bash", "-ec", commands], cwd=tmp_path, check=True, capture_output=True)
    _, expires = read_peer_files(PeerFolder(tmp_path).conf)
    assert 89 < (expires - time.time()) / 86400 < 91


def _of_two() -> Pair:
    return Pair(OLD.issue().certificate, OLD.issue().key)


class Client(Settings):
    """A process that serves no gRPC."""


def _settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cls: type[Settings], variables: dict[str, str]
) -> Settings:
    yaml = tmp_path / "x.yaml"
    yaml.write_text("Name: x\n")
    environ = {"IM_INTERNAL_SECRET": "s" * 32, **variables}
    for name in [name for name in os.environ if name.startswith("IM_")]:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return load(cls, yaml, environ)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.put(pair=_of_two()), "CERT_KEY_FILE.* is not the key"),
        (lambda f: f.put(pair=OLD.issue(lasts=timedelta(seconds=-9))), "CERT_FILE.* expired"),
        (lambda f: f.put(pair=OLD.issue("other.internal")), "CERT_FILE.* not valid for 'im.internal'"),
        (lambda f: f.put(pair=NEW.issue()), "CERT_FILE.* unable to get local issuer"),
        (lambda f: (f.folder / "cert.pem").unlink(), "CERT_FILE.* No such file"),
        (lambda f: (f.folder / "ca.pem").write_text("x"), "CA_CERT_FILE.* no CERTIFICATE"),
        (lambda f: (f.folder / "key.pem").write_text("x"), "CERT_KEY_FILE.* no PRIVATE KEY"),
        (lambda f: (f.folder / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nx"), "CA_CERT_FILE"),
    ],
)  # fmt: skip
def test_files_that_no_peer_would_take_keep_a_process_from_starting(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: PeerFolder,
    change: Callable[[PeerFolder], object],
    said: str,
) -> None:
    _settings(tmp_path, monkeypatch, RpcSettings, folder.variables)
    change(folder)
    with pytest.raises(ConfigError, match=rf"RpcTls\.\w+ \(variable IM_RPC_TLS__{said}"):
        _settings(tmp_path, monkeypatch, RpcSettings, folder.variables)


def test_a_process_says_which_setting_is_wrong_and_ends(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: PeerFolder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _settings(tmp_path, monkeypatch, RpcSettings, folder.variables)
    folder.put(pair=_of_two())
    program = Program("x-service", RpcSettings, tmp_path / "x.yaml", lambda _: 0)
    assert main(program, ["serve"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("x-service: RpcTls.CertKeyFile (variable IM_RPC_TLS__CERT_KEY_FILE): ")


@pytest.mark.parametrize(
    ("cls", "given", "said"),
    [
        (Client, {"CERT_FILE"}, "CertFile and CertKeyFile go together"),
        (Client, {"CA_CERT_FILE", "CERT_KEY_FILE"}, "CertFile and CertKeyFile go together"),
        (Client, {"CERT_FILE", "CERT_KEY_FILE"}, "CaCertFile is missing"),
        (Client, {"CA_CERT_FILE"}, "CertFile and CertKeyFile are missing"),
        (RpcSettings, {"CA_CERT_FILE", "CLIENT_CERTS"}, "CertKeyFile are missing: a server"),
    ],
)
def test_half_of_the_settings_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: PeerFolder,
    cls: type[Settings],
    given: set[str],
    said: str,
) -> None:
    every = {**folder.variables, "IM_RPC_TLS__CLIENT_CERTS": "false"}
    variables = {n: v for n, v in every.items() if n.removeprefix("IM_RPC_TLS__") in given}
    with pytest.raises(ConfigError, match=said):
        _settings(tmp_path, monkeypatch, cls, variables)
