"""Starts an etcd, a server of ours and the Go program beside this file; each finds the other."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import SecretStr

from im_common.discovery import EtcdClient
from im_common.errors import unauthenticated
from im_common.rpc.access import Gatekeeper
from im_common.rpc.client import connect
from im_common.rpc.server import RpcServer
from im_common.rpc.service_token import ServiceTokens
from im_common.runtime import process
from im_common.runtime.config import RpcSettings
from im_common.runtime.context import Identity
from im_common.runtime.resources import Resources
from im_common.runtime.sections import ClientConf, EtcdConf
from im_common.testing.etcd import EtcdServer
from im_common.testing.ports import free_port
from im_common.testing.services import SECRET, running

BUILD_S = 1800


class Nobody:
    async def verify(self, token: str) -> Identity:
        raise unauthenticated("nobody has a token")


async def serve(settings: RpcSettings, resources: Resources) -> None:
    server = RpcServer(
        listen_on=settings.listen_on,
        services=[],
        register=lambda _: None,
        gatekeeper=Gatekeeper(Nobody(), resources.service_tokens),
        timeout_ms=settings.timeout,
    )
    await process.serve(settings, resources, rpc=server)


async def find_each_other(etcd: str) -> None:
    settings = RpcSettings(
        name="python",
        listen_on=f"127.0.0.1:{free_port()}",
        etcd=EtcdConf(hosts=[etcd], key="python.rpc"),
        internal_secret=SecretStr(SECRET),
    )
    async with running(serve, settings):
        go = await asyncio.create_subprocess_exec(
            *("go", "run", ".", "-etcd", etcd, "-listen", f"127.0.0.1:{free_port()}"),
            cwd=Path(__file__).parent,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert go.stdin is not None
        assert go.stdout is not None
        async with asyncio.timeout(BUILD_S):
            while b"found python.rpc" not in (line := await go.stdout.readline()):
                if not line:
                    sys.exit("the Go program did not find python.rpc")
        sys.stdout.write("go-zero found python.rpc\n")
        client = EtcdClient(settings.etcd)
        channel = connect(ClientConf(key="go.rpc"), client, ServiceTokens(SECRET, "python"))
        async with channel:
            health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        sys.stdout.write("python found go.rpc\n")
        await client.close()
        go.stdin.close()
        await go.wait()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, EtcdServer.running(Path(folder)) as etcd:
        asyncio.run(find_each_other(etcd.address))


if __name__ == "__main__":
    main()
