"""Which processes there are."""

from __future__ import annotations

import asyncio

from im.common.v1.process_pb2 import DescribeProcessRequest
from im.common.v1.process_pb2_grpc import ProcessServiceStub
from im_admin.operator import Operator
from im_admin.plain import Row
from im_common.discovery import EtcdError
from im_common.errors import AppError, Code
from im_common.runtime.sections import ClientConf

# Who does not answer within it is shown so.
_WITHIN_S = 2.0


async def list_processes(operator: Operator) -> list[Row]:
    """Each instance of a service that others can find, with its version; `state` says whether it
    answers. chat-mq and api-gateway call and are not called, so they are not among them."""
    settings = operator.settings
    confs = (
        settings.auth_rpc,
        settings.user_rpc,
        settings.friend_rpc,
        settings.group_rpc,
        settings.chat_rpc,
        settings.ws_rpc,
    )
    found = await asyncio.gather(*(_of_service(operator, conf) for conf in confs))
    return [row for rows in found for row in rows]


async def _of_service(operator: Operator, conf: ClientConf) -> list[Row]:
    addresses = sorted(conf.endpoints or await _registered(operator, conf.key))
    service = conf.key.removesuffix(".rpc")
    rows = await asyncio.gather(*(_described(operator, address) for address in addresses))
    if not rows:
        return [{"service": service, "address": "", "state": "none", **_UNKNOWN}]
    return [{"service": service, **row} for row in rows]


_UNKNOWN = {"version": "", "started_at": 0, "connections": 0}


async def _registered(operator: Operator, key: str) -> list[str]:
    try:
        found, _ = await operator.resources.etcd().range(f"{key}/")
    except EtcdError as error:
        raise AppError(Code.UNAVAILABLE, f"no answer from etcd: {error}") from error
    return list(found.values())


async def _described(operator: Operator, address: str) -> Row:
    stub = ProcessServiceStub(operator.ways.instance(address))
    try:
        async with asyncio.timeout(_WITHIN_S):
            found = await stub.DescribeProcess(DescribeProcessRequest())
    except (AppError, TimeoutError):
        return {"address": address, "state": "no answer", **_UNKNOWN}
    return {
        "address": address,
        "state": "ok",
        "version": found.version,
        "started_at": found.started_at,
        "connections": found.connections,
    }
