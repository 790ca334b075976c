"""A process that answers what it is sent, by WebSocket and by gRPC: `python -m im_bench.echo`.

It prints its two ports, and ends with its input."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
import websockets.asyncio.server as websockets

from im_bench.report import Failed
from im_local.paths import PYTHON

HOST = "127.0.0.1"
METHOD = "/im.bench.Echo/Say"


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[tuple[str, str]]:
    """Runs it during the block: the WebSocket's address, and host:port of the other. Raises Failed."""
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, "-P", "-m", "im_bench.echo"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    try:
        ports = (await process.stdout.readline()).decode().split()
        if len(ports) != 2:
            raise Failed("the process that echoes did not start")
        yield f"ws://{HOST}:{ports[0]}/", f"{HOST}:{ports[1]}"
    finally:
        process.stdin.close()
        await process.wait()


class _Rpc(grpc.GenericRpcHandler):
    def service(self, _details: Any) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(_same)


async def _same(request: bytes, _context: Any) -> bytes:
    return request


async def _web_socket(connection: websockets.ServerConnection) -> None:
    await connection.send('{"type":"hello"}')
    async for frame in connection:
        await connection.send(frame)


async def _serve() -> None:
    rpc = grpc.aio.server()
    rpc.add_generic_rpc_handlers([_Rpc()])
    rpc_port = rpc.add_insecure_port(f"{HOST}:0")
    await rpc.start()
    async with websockets.serve(_web_socket, HOST, 0, compression=None) as server:
        (listener,) = server.sockets
        print(listener.getsockname()[1], rpc_port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await rpc.stop(0)


if __name__ == "__main__":
    uvloop.run(_serve())
