"""ProcessService: what each process with a gRPC server says of itself."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import REGISTRY

from im.common.v1 import process_pb2 as pb
from im.common.v1.process_pb2_grpc import ProcessServiceServicer
from im_common import __version__

SERVICE = "im.common.v1.ProcessService"
# The gauge that a process with connections sets.
_CONNECTIONS = "im_connections"


class ProcessServicer(ProcessServiceServicer):
    def __init__(self) -> None:
        self._started_at = int(time.time() * 1000)

    async def DescribeProcess(
        self, _request: pb.DescribeProcessRequest, _: Any
    ) -> pb.DescribeProcessResponse:
        connections = REGISTRY.get_sample_value(_CONNECTIONS) or 0
        return pb.DescribeProcessResponse(
            version=__version__, started_at=self._started_at, connections=int(connections)
        )
