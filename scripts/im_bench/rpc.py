"""Calls by gRPC as another service makes them: with its tokens, and by TLS if the system has that."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from im_admin.config import VARIABLES
from im_common.rpc.client import BalancedChannel, connect
from im_common.rpc.peer_tls import PeerTls
from im_common.rpc.service_token import ServiceTokens
from im_common.runtime.sections import ClientConf, RpcTlsConf
from im_local.testing import Ready

_TLS = "IM_RPC_TLS__"


@asynccontextmanager
async def channel_to(
    ready: Ready, service: str, *, timeout_s: float = 10.0
) -> AsyncIterator[BalancedChannel]:
    """To the first instance of a service (`user`), for as long as the block lasts. A call raises
    AppError, as between services; ``timeout_s`` is of each."""
    secret = (Path(ready.data) / "secrets/internal_secret").read_text("utf-8").strip()
    conf = ClientConf(endpoints=[ready.grpc[service]], timeout=round(timeout_s * 1000))
    channel = connect(conf, None, ServiceTokens(secret, "bench"), _tls(Path(ready.data)))
    await channel.start()
    try:
        yield channel
    finally:
        await channel.close()


def _tls(data: Path) -> PeerTls | None:
    """As the system itself was told."""
    file = data / VARIABLES
    # One of an older commit may not say it.
    told: dict[str, str] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    settings = {n.removeprefix(_TLS).lower(): v for n, v in told.items() if n.startswith(_TLS)}
    conf = RpcTlsConf.model_validate(settings)
    return PeerTls(conf) if conf.ca_cert_file else None
