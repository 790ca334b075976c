"""A process that answers what it is sent, by WebSocket and by gRPC: `python -m im_bench.echo`.

It prints its two ports, and ends with its input."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
import websockets.asyncio.server as websockets

from im_bench.started import started

HOST = "127.0.0.1"
METHOD = "/im.bench.Echo/Say"


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[tuple[str, str]]:
    """Runs it during the block: the WebSocket's address, and host:port of the other. Raises Failed."""
    async with started("im_bench.echo") as process:
        web_socket, rpc = process.said
        yield f"ws://{HOST}:{web_socket}/", f"{HOST}:{rpc}"


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
