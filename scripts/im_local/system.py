"""The processes of the backend: their ports, their settings, and the addresses they share."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from im_local import probes, servers
from im_local.infra_file import Infra
from im_local.paths import PYTHON, DataDir
from im_local.ports import HOST
from im_local.process import Process, Stage
from im_local.processes import SERVICES, VARIABLES, Service, instances

REDIS_PORT, ETCD_PORT, ETCD_PEER_PORT = 16370, 12371, 12372
# Below the four seconds that a stage has to end.
GRACE_MS = 2500
# Tests and benches come from one address, and make a thousand accounts.
RATES_FACTOR = "50"


@dataclass(frozen=True)
class System:
    """The backend on one data folder, with the embedded servers or those of `infra`."""

    data: DataDir
    port_offset: int = 0
    infra: Infra | None = None
    # Of services that have more than one instance, how many.
    scale: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def instances(self) -> list[Service]:
        """What runs, with ports."""
        return list(instances(self.port_offset, self.scale))

    @property
    def redis(self) -> str:
        return self.infra.redis if self.infra else self._at(REDIS_PORT)

    @property
    def etcd(self) -> list[str]:
        return self.infra.etcd if self.infra else [self._at(ETCD_PORT)]

    def servers(self) -> list[Process]:
        """The embedded servers; none when `infra` names others."""
        return [] if self.infra else [self._redis_server(), self._etcd_server()]

    def services(self) -> list[Process]:
        """All services and gateways."""
        return [self._process(instance) for instance in self.instances]

    def describe(self) -> dict[str, Any]:
        """What ready.json says, but for the pids."""
        firsts = [one for one in self.instances if one.number == 1]
        rpc = _listening(firsts, "gRPC")
        web_sockets = self._web_sockets()
        described: dict[str, Any] = {
            "api": f"http://{_listening(firsts, 'HTTP')['api-gateway']}",
            "ws": web_sockets[0],
            "ws_gateways": web_sockets,
            "grpc": {name.removesuffix("-gateway"): at for name, at in rpc.items()},
            "redis": f"redis://{self.redis}/0" if "," not in self.redis else self.redis,
            "etcd": ",".join(self.etcd),
        }
        if self.infra:
            described["kafka"] = ",".join(self.infra.kafka)
            described["mysql"] = f"mysql://{self.infra.mysql_user}@{self.infra.mysql}"
        described["dev"] = {one.name: f"{HOST}:{one.operator}" for one in self.instances}
        described["data"] = str(self.data.path)
        return described

    def _at(self, port: int) -> str:
        return f"{HOST}:{port + self.port_offset}"

    def _redis_server(self) -> Process:
        port, folder = REDIS_PORT + self.port_offset, self.data.path / "redis"
        argv = servers.valkey_argv(port=port, folder=folder)
        return Process("redis", argv, Stage.SERVER, {"port": port}, probes.redis(port))

    def _etcd_server(self) -> Process:
        port, peer = ETCD_PORT + self.port_offset, ETCD_PEER_PORT + self.port_offset
        argv = servers.etcd_argv(port=port, peer_port=peer, folder=self.data.path / "etcd")
        return Process("etcd", argv, Stage.SERVER, {"port": port, "peers": peer}, probes.etcd(port))

    def _process(self, service: Service) -> Process:
        return Process(
            name=service.name,
            argv=[PYTHON, "-m", service.module, "serve", "-f", service.config_file],
            stage=Stage.GATEWAY if service.is_gateway else Stage.SERVICE,
            ports={**service.ports, "operator": service.operator},
            probe=probes.http(service.operator, "/readyz"),
            offers=self._offers(service),
            is_forked=True,
        )

    def _offers(self, service: Service) -> dict[str, str]:
        listens = {VARIABLES[what]: f"{HOST}:{port}" for what, port in service.ports.items()}
        return {
            **listens,
            **self._database(service),
            **self._page(service),
            "IM_DEV_SERVER__PORT": str(service.operator),
            **self.shared_offers(),
        }

    def shared_offers(self) -> dict[str, str]:
        """What is the same for all."""
        return {
            **self._bus(),
            **self._etcd(),
            **self._files(),
            **self._rpc_tls(),
            "IM_REDIS__HOST": self.redis,
            "IM_KEYS__FILE": str(self.data.secrets / "auth_keys.json"),
            "IM_INTERNAL_SECRET_FILE": str(self.data.secrets / "internal_secret"),
            "IM_GRACE": str(GRACE_MS),
            "IM_RATES__FACTOR": RATES_FACTOR,
        }

    def _database(self, service: Service) -> dict[str, str]:
        if not service.database:
            return {}
        if self.infra:
            account = f"{self.infra.mysql_user}@{self.infra.mysql}"
            source = f"mysql+asyncmy://{account}/{service.database}"
            return {
                "IM_DB__DATA_SOURCE": source,
                "IM_DB__PASSWORD": self.infra.mysql_password,
                **{f"IM_DB__{key.upper()}": value for key, value in self.infra.mysql_tls.items()},
            }
        file = self.data.path / "sqlite" / f"{service.database}.db"
        return {"IM_DB__DATA_SOURCE": f"sqlite+aiosqlite:///{file}"}

    def _page(self, service: Service) -> dict[str, str]:
        if "HTTP" not in service.ports:
            return {}
        return {"IM_WEB__GATEWAYS": ",".join(self._web_sockets())}

    def _web_sockets(self) -> list[str]:
        addresses = _listening(self.instances, "WebSocket").values()
        return [f"ws://{address}/ws/connect" for address in addresses]

    def _etcd(self) -> dict[str, str]:
        access = self.infra.etcd_access if self.infra else {}
        return {
            "IM_ETCD__HOSTS": ",".join(self.etcd),
            **{f"IM_ETCD__{key.upper()}": value for key, value in access.items()},
        }

    def _files(self) -> dict[str, str]:
        s3 = self.infra.s3 if self.infra else {}
        return {
            "IM_FILES__FOLDER": str(self.data.path / "files"),
            **{f"IM_FILES__S3__{key.upper()}": value for key, value in s3.items()},
        }

    def _rpc_tls(self) -> dict[str, str]:
        tls = self.infra.rpc_tls if self.infra else {}
        return {f"IM_RPC_TLS__{key.upper()}": value for key, value in tls.items()}

    def _bus(self) -> dict[str, str]:
        if not self.infra:
            return {"IM_BUS__KIND": "redis"}
        bus = {
            "IM_BUS__KIND": "kafka",
            "IM_BUS__BROKERS": ",".join(self.infra.kafka),
            **{f"IM_BUS__{key.upper()}": value for key, value in self.infra.kafka_access.items()},
        }
        access = self.infra.redis_access
        return bus | {f"IM_REDIS__{key.upper()}": value for key, value in access.items()}


def _listening(services: list[Service], what: str) -> dict[str, str]:
    return {s.name: f"{HOST}:{s.ports[what]}" for s in services if what in s.ports}


def base_ports() -> list[int]:
    """Every port of the embedded system, before an offset."""
    ports = [port for s in SERVICES for port in s.ports.values()]
    return [*ports, *(s.operator for s in SERVICES), REDIS_PORT, ETCD_PORT, ETCD_PEER_PORT]


def base_environment() -> dict[str, str]:
    """What every child gets: the caller's environment, without settings meant for a service."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("IM_")}
    # One malloc arena for each of 8 cores costs a Python process some tens of megabytes.
    return kept | {"MALLOC_ARENA_MAX": "2", "PYTHONUNBUFFERED": "1"}
