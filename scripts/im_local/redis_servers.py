"""Redis as a cluster of six nodes, and as a master with two replicas and three Sentinels.

They speak TLS alone, and let in `im`, who may do what services and their tests do, and `admin`, as whom
they replicate and watch each other.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from im_local import probes
from im_local.certificates import certificates_once
from im_local.errors import LocalError
from im_local.files import FileLock, secret_once, write_atomically
from im_local.infra_server import Cluster, Server
from im_local.install import program
from im_local.paths import DataDir
from im_local.ports import HOST
from im_local.servers import redis_argv

if TYPE_CHECKING:
    # The supervisor stays small without it.
    import ssl

_MASTER_NAME = "im"
# Of the first; of the cluster's bus; of the first Sentinel.
_PORT, _BUS_PORT, _SENTINEL_PORT = 16401, 16411, 16421
_SEEN_DEAD_MS = 3_000
_MAY = "~* &* +@all -@dangerous +info +role +keys +flushall"
# As long as other servers may take that start beside these.
_TOGETHER_LIMIT_S = 120.0


@dataclass(frozen=True)
class RedisServers:
    """Those of one data folder; `is_cluster`, or behind Sentinels."""

    data: DataDir
    is_cluster: bool
    port_offset: int

    @cached_property
    def nodes(self) -> dict[str, int]:
        """Ports by name."""
        number = 6 if self.is_cluster else 3
        return {f"redis-{n + 1}": _PORT + n + self.port_offset for n in range(number)}

    @cached_property
    def sentinels(self) -> dict[str, int]:
        number = 0 if self.is_cluster else 3
        return {
            f"redis-sentinel-{n + 1}": _SENTINEL_PORT + n + self.port_offset for n in range(number)
        }

    def servers(self) -> list[Server]:
        kind = "redis-cluster" if self.is_cluster else "redis-sentinel"
        return [
            Server(
                name,
                self.data.path / "infra" / kind / name,
                [port, self._bus_port(port)] if self.is_cluster else [port],
                self._probe(port),
                partial(self._argv, name, port, self.data.path / "infra" / kind / name),
                self._join if name == "redis-1" else self._wait_for_all,
            )
            for name, port in (self.nodes | self.sentinels).items()
        ]

    def ask(self, port: int, *command: str) -> str:
        """What a server answers to a command of `admin`. Raises LocalError."""
        made = certificates_once(self.data.secrets / "tls")
        argv = [program("redis-cli"), "-h", HOST, "-p", str(port)]
        argv += ["--tls", "--cacert", str(made.ca), "--user", "admin", "--no-auth-warning"]
        done = subprocess.run(
            [*argv, *command],
            env={"REDISCLI_AUTH": self._password("admin")},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LocalError(f"redis-cli {' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def masters_without(self, name: str) -> bool:
        """Whether another one leads what the server `name`, which is dead, led."""
        dead = self.nodes[name]
        alive = [port for port in self.nodes.values() if port != dead]
        if self.is_cluster:
            seen = [self.ask(port, "CLUSTER", "INFO") for port in alive]
            states = all("cluster_state:ok" in state for state in seen)
            return states and not self._slots_at(alive[0], dead)
        seen = [
            self.ask(port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", _MASTER_NAME)
            for port in self.sentinels.values()
        ]
        return all(str(dead) not in address for address in seen)

    def _slots_at(self, asked: int, port: int) -> bool:
        """Whether a node has slots, as another one sees it."""
        for line in self.ask(asked, "CLUSTER", "NODES").splitlines():
            fields = line.split()
            if f":{port}@" in fields[1]:
                return len(fields) > 8
        return False

    def move(self, slot: int) -> None:
        """From its master to another one, with all its keys, while it is used. Raises LocalError."""
        masters = self._masters()
        (source,) = [port for port, (_, slots) in masters.items() if slot in slots]
        target = next(port for port in masters if port != source)
        ids = {port: masters[port][0] for port in (source, target)}
        self.ask(target, "CLUSTER", "SETSLOT", str(slot), "IMPORTING", ids[source])
        self.ask(source, "CLUSTER", "SETSLOT", str(slot), "MIGRATING", ids[target])
        login = ("AUTH2", "admin", self._password("admin"))
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", str(slot), "10").split():
            place = ("MIGRATE", HOST, str(target), "", "0", "5000")
            self.ask(source, *place, *login, "KEYS", *keys)
        for port in (target, source):
            self.ask(port, "CLUSTER", "SETSLOT", str(slot), "NODE", ids[target])

    def _masters(self) -> dict[int, tuple[str, set[int]]]:
        """By port, the id and the slots of each, as it sees itself."""
        found: dict[int, tuple[str, set[int]]] = {}
        for port in self.nodes.values():
            lines = self.ask(port, "CLUSTER", "NODES").splitlines()
            own = next((line.split() for line in lines if "myself,master" in line), [])
            ranges = [word.partition("-") for word in own[8:] if word[0] != "["]
            slots = {n for a, _, b in ranges for n in range(int(a), int(b or a) + 1)}
            if slots:
                found[port] = (own[0], slots)
        return found

    def _join(self) -> None:
        first, *_ = self.nodes.values()
        if self.is_cluster and "cluster_slots_assigned:0" in self.ask(first, "CLUSTER", "INFO"):
            _until(self._all_answer, "start")
            addresses = [f"{HOST}:{port}" for port in self.nodes.values()]
            create = ("--cluster", "create", *addresses, "--cluster-replicas", "1")
            self.ask(first, *create, "--cluster-yes")
        self._wait_for_all()

    def _wait_for_all(self) -> None:
        _until(self._are_together, "find each other")

    def _all_answer(self) -> bool:
        return all(self.ask(port, "PING") == "PONG\n" for port in self.nodes.values())

    def _are_together(self) -> bool:
        seen = [self.ask(port, "INFO", "replication") for port in self.nodes.values()]
        replicas = sum("role:slave" in one and "master_link_status:up" in one for one in seen)
        if self.is_cluster:
            states = [self.ask(port, "CLUSTER", "INFO") for port in self.nodes.values()]
            return replicas == 3 and all("cluster_state:ok" in state for state in states)
        votes = [
            self.ask(port, "SENTINEL", "CKQUORUM", _MASTER_NAME) for port in self.sentinels.values()
        ]
        return replicas == 2 and all(vote.startswith("OK 3 usable") for vote in votes)

    def _probe(self, port: int) -> probes.Probe:
        async def probe() -> bool:
            # Made by then, by who prepared it.
            login = f"im {self._password('im')}"
            return await probes.redis(port, tls=self._context(), login=login)()

        return probe

    def _context(self) -> ssl.SSLContext:
        import ssl

        return ssl.create_default_context(cafile=certificates_once(self.data.secrets / "tls").ca)

    def _bus_port(self, port: int) -> int:
        return port - _PORT + _BUS_PORT

    def _argv(self, name: str, port: int, folder: Path) -> list[str]:
        # It writes there who its master is by now.
        settings = folder / "redis.conf"
        if not settings.exists():
            is_sentinel = name in self.sentinels
            lines = self._of_sentinel(folder) if is_sentinel else self._of_node(name, port)
            lines = [*self._secured(port), *lines, *self._users("" if is_sentinel else _MAY)]
            write_atomically(settings, "".join(f"{line}\n" for line in lines))
        if name in self.sentinels:
            return [program("redis-server"), str(settings), "--sentinel"]
        server, *argv = redis_argv(program("redis-server"), port, folder)
        argv[argv.index("--port") + 1] = "0"
        return [server, str(settings), *argv]

    def _of_node(self, name: str, port: int) -> Iterable[str]:
        yield "masteruser admin"
        yield f"masterauth {self._password('admin')}"
        yield "repl-timeout 10"
        if self.is_cluster:
            yield from ("cluster-enabled yes", "tls-cluster yes")
            yield f"cluster-port {self._bus_port(port)}"
            yield f"cluster-node-timeout {_SEEN_DEAD_MS}"
        elif name != "redis-1":
            yield f"replicaof {HOST} {self.nodes['redis-1']}"

    def _of_sentinel(self, folder: Path) -> Iterable[str]:
        name, password = _MASTER_NAME, self._password("admin")
        yield from (f"bind {HOST}", f"dir {folder}")
        yield from ("sentinel sentinel-user admin", f"sentinel sentinel-pass {password}")
        yield f"sentinel monitor {name} {HOST} {self.nodes['redis-1']} 2"
        yield from (f"sentinel auth-user {name} admin", f"sentinel auth-pass {name} {password}")
        yield f"sentinel down-after-milliseconds {name} {_SEEN_DEAD_MS}"
        yield f"sentinel failover-timeout {name} 10000"

    def _secured(self, port: int) -> Iterable[str]:
        made = certificates_once(self.data.secrets / "tls")
        yield from ("port 0", f"tls-port {port}", "tls-replication yes", "tls-auth-clients no")
        yield f"tls-ca-cert-file {made.ca}"
        yield f"tls-cert-file {made.certificate('server')}"
        yield f"tls-key-file {made.key('server')}"

    def _users(self, may: str) -> Iterable[str]:
        yield "user default off"
        yield f"user im on >{self._password('im')} {may or '+@connection +sentinel'}"
        yield f"user admin on >{self._password('admin')} ~* &* +@all"

    def _password(self, user: str) -> str:
        # They are made ready side by side.
        with FileLock(self.data.secrets / "redis.lock", wait=True):
            return secret_once(self.data.secrets / _password_file(user), bytes_of_entropy=24)


def _password_file(user: str) -> str:
    return f"redis_{user}_password"


def _until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + _TOGETHER_LIMIT_S
    while True:
        try:
            if condition():
                return
            said = ""
        except LocalError as error:
            said = f" ({error})"
        if time.monotonic() > deadline:
            raise LocalError(f"The servers of Redis did not {what}{said}.")
        time.sleep(0.1)


def _described(is_cluster: bool, port_offset: int) -> dict[str, Any]:
    of_none = RedisServers(DataDir(Path()), is_cluster, port_offset)
    first = of_none.nodes if is_cluster else of_none.sentinels
    found: dict[str, Any] = {
        "type": "cluster" if is_cluster else "sentinel",
        "hosts": [f"{HOST}:{port}" for port in first.values()],
        "username": "im",
        "password_file": f"secrets/{_password_file('im')}",
        "tls": True,
        "tls_ca_file": "secrets/tls/ca.pem",
        "nodes": [f"{HOST}:{port}" for port in of_none.nodes.values()],
    }
    if is_cluster:
        return found
    access = {"sentinel_username": "im", "sentinel_password_file": found["password_file"]}
    return found | {"master_name": _MASTER_NAME} | access


def _cluster(is_cluster: bool) -> Cluster:
    return Cluster(
        "redis",
        lambda data, offset: RedisServers(data, is_cluster, offset).servers(),
        partial(_described, is_cluster),
    )


REDIS_CLUSTER, REDIS_SENTINEL = _cluster(True), _cluster(False)
