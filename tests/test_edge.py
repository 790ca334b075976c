"""The door of the compose file, deploy/haproxy.cfg, as it is but for the places of the gateways."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from im_people import PASSWORD, new_name

from im_client import ImClient
from im_common.testing.certificates import make_certificate
from im_common.testing.ports import free_port
from im_common.testing.waiting import eventually
from im_local.last_will import ends_with_us
from im_local.paths import ROOT
from im_local.testing import System

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")


class Edge:
    """HAProxy that runs."""

    def __init__(self) -> None:
        self.http, self.ws, self.operator = free_port(), free_port(), free_port()
        self.pid = 0

    def config_for(self, system: System) -> str:
        """Its own file, which finds gateways by DNS; here they are at addresses."""
        ready = system.ready
        places = {"api": (ready.api, "api-gateway"), "ws": (ready.ws, "ws-gateway")}
        text = (ROOT / "deploy/haproxy.cfg").read_text()
        for short, (url, name) in places.items():
            address = httpx.URL(url)
            operator = ready.dev[name].rpartition(":")[2]
            there = f"server {short}-1 {address.host}:{address.port} port {operator}"
            text, count = re.subn(rf"server-template {short}- .*", there, text)
            assert count == 1
        for before, port in ((8080, self.http), (8081, self.ws), (8404, self.operator)):
            text = text.replace(f"bind :{before}", f"bind 127.0.0.1:{port}")
        return text

    async def lets_in(self) -> bool:
        async with httpx.AsyncClient(verify=False) as client:
            try:
                answer = await client.get(f"http://127.0.0.1:{self.operator}/healthz")
            except httpx.TransportError:
                return False
        return answer.status_code == 200


@asynccontextmanager
async def edge(system: System, folder: Path, **environ: str) -> AsyncIterator[Edge]:
    running = Edge()
    file = folder / "haproxy.cfg"
    file.write_text(running.config_for(system))
    # As its image does.
    command = [shutil.which("haproxy") or "", "-W", "-db", "-f", str(file)]
    process = await asyncio.create_subprocess_exec(*command, env=environ)
    running.pid = process.pid
    has_ended = ends_with_us(process.pid)
    try:
        await eventually(running.lets_in, within_s=20)
        yield running
    finally:
        # Its worker ends with it.
        process.terminate()
        await process.wait()
        has_ended()


async def _talk(api: str, ws: str, trust: ssl.SSLContext | None = None) -> None:
    async with (
        asyncio.timeout(30),
        ImClient(api, ws=ws, ssl=trust) as ann,
        ImClient(api, ws=ws, ssl=trust) as bob,
    ):
        for client in (ann, bob):
            await client.register(new_name(), PASSWORD)
        assert bob.user_id
        talk = ann.conversation_with(bob.user_id)
        sent = await ann.send(talk, "hello")
        placed = await sent.placed()
        received = await anext(bob.messages())
        assert (received.message_id, received.content) == (placed.message_id, "hello")
        [stored] = (await bob.http.get(f"/v1/conversations/{talk}/messages"))["items"]
        assert stored["message_id"] == placed.message_id


async def test_clients_come_in_without_tls_as_it_comes(system: System, tmp_path: Path) -> None:
    async with edge(system, tmp_path) as door:
        await _talk(f"http://127.0.0.1:{door.http}", f"ws://127.0.0.1:{door.ws}/ws/connect")


async def test_with_a_certificate_both_ports_speak_tls_and_nothing_else(
    system: System, tmp_path: Path
) -> None:
    both, cert = _certificate(tmp_path)
    trust = ssl.create_default_context(cafile=str(cert))
    async with edge(system, tmp_path, IM_EDGE_CERT=str(both)) as door:
        base = f"https://localhost:{door.http}"
        await _talk(base, f"wss://localhost:{door.ws}/ws/connect", trust)
        # As browsers do.
        said = await asyncio.to_thread(
            _curl, "--http2", "--cacert", str(cert), f"{base}/openapi.json"
        )
        assert said == "2 200"
        async with httpx.AsyncClient() as plain:
            for port in (door.http, door.ws):
                with pytest.raises(httpx.TransportError):
                    await plain.get(f"http://localhost:{port}/")


async def test_a_new_certificate_is_taken_at_a_signal(system: System, tmp_path: Path) -> None:
    both, old = _certificate(tmp_path)
    text = old.read_text()
    async with edge(system, tmp_path, IM_EDGE_CERT=str(both)) as door:

        async def shown() -> str:
            return await asyncio.to_thread(ssl.get_server_certificate, ("localhost", door.ws))

        assert await shown() == text
        _, new = _certificate(tmp_path)
        async with asyncio.timeout(20):
            while await shown() != new.read_text():
                # In its first moments the master misses it.
                os.kill(door.pid, signal.SIGUSR2)
                await asyncio.sleep(0.5)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """The file that HAProxy wants, and the certificate alone."""
    cert, key = make_certificate(folder)
    both = folder / "edge.pem"
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    return both, cert


def _curl(*arguments: str) -> str:
    """The version of HTTP, and the status."""
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
