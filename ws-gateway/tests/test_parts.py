"""What runs beside the connections lasts as long as the process."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from im_common.domain.in_flight import InFlight
from im_common.runtime.sections import BusConf, ClientConf
from im_common.testing.fixtures import valkey
from im_common.testing.ports import free_port
from im_common.testing.services import SECRET, run_to_the_end
from im_common.testing.valkey import ValkeyServer
from ws_gateway.config import Settings, WebSocketConf
from ws_gateway.logic.relay import Relay
from ws_gateway.logic.turns import Turns
from ws_gateway.server import serve

__all__ = ["valkey"]

NOBODY = ClientConf(endpoints=["127.0.0.1:1"])


async def fail(_self: object) -> None:
    raise RuntimeError("a bug")


@pytest.fixture
def settings(valkey: ValkeyServer) -> Settings:
    return Settings(
        name="ws-gateway",
        listen_on=f"127.0.0.1:{free_port()}",
        web_socket=WebSocketConf(listen_on=f"127.0.0.1:{free_port()}"),
        redis=valkey.conf,
        bus=BusConf(kind="redis"),
        internal_secret=SecretStr(SECRET),
        auth_rpc=NOBODY,
        user_rpc=NOBODY,
        chat_rpc=NOBODY,
    )


@pytest.mark.parametrize(
    ("kind", "name"), [(Relay, "relay"), (InFlight, "in-flight"), (Turns, "turns")]
)
async def test_a_bug_in_a_part_ends_the_gateway(
    kind: type, name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "run", fail)
    resources = await run_to_the_end(serve, settings)
    assert resources.failed == [name]
    assert await resources.dev_server.failing()
