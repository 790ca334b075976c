"""gRPC's own services, which every server of ours has: health and reflection.

Source: grpc/health/v1/health.proto, grpc/reflection/v1/reflection.proto.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import _async as reflection_aio
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"


class Health(health_aio.HealthServicer):
    """The health of each service of one server; all are well until the end."""

    def __init__(self, services: Iterable[str]) -> None:
        super().__init__()
        self._names = ("", *services, health.SERVICE_NAME)
        self._ended = asyncio.Event()

    async def start(self) -> None:
        for name in self._names:
            await self.set(name, health_pb2.HealthCheckResponse.SERVING)

    def end_watches(self) -> None:
        """An open Watch would hold the server's stop for its whole grace."""
        self._ended.set()

    async def List(self, request: Any, context: Any) -> health_pb2.HealthListResponse:
        statuses = {
            name: health_pb2.HealthCheckResponse(status=status)
            for name, status in self._server_status.items()
        }
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(self, request: Any, context: Any) -> None:
        watch = asyncio.create_task(super().Watch(request, context))
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait((watch, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            ended.cancel()
            await asyncio.gather(watch, ended, return_exceptions=True)


class Reflection(reflection_aio.ReflectionServicer):
    """Also finds a method by its name, which Python's pool of protos does not take for a symbol."""

    def _file_containing_symbol(self, request: Any, fully_qualified_name: str) -> Any:
        name = fully_qualified_name
        with suppress(KeyError):
            name = self._pool.FindMethodByName(name).containing_service.full_name
        return super()._file_containing_symbol(request, name)  # type: ignore[no-untyped-call]


def add_standard_services(server: grpc.aio.Server, services: Iterable[str]) -> Health:
    """Adds both to ``server``, which has ``services`` (full names). The caller leads the health."""
    names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME, REFLECTION_V1)
    its_health = Health(services)
    health_pb2_grpc.add_HealthServicer_to_server(its_health, server)  # type: ignore[no-untyped-call]
    servicer = Reflection(names)  # type: ignore[no-untyped-call]
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    _describe_v1()
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    handlers = {"ServerReflectionInfo": method}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(REFLECTION_V1, handlers),)
    )
    return its_health


def _describe_v1() -> None:
    """Adds reflection's v1 to the known protos: the library has v1alpha only, which is the same but for
    the package's name."""
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    text = text_format.MessageToString(file).replace("v1alpha", "v1")
    descriptor_pool.Default().AddSerializedFile(
        text_format.Parse(text, descriptor_pb2.FileDescriptorProto()).SerializeToString()
    )
