"""MariaDB Galera: three nodes, and the proxy of deploy/galera before them.

They speak TLS to each other, and to who asks for it; services reach them through the proxy.
"""

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from im_local import probes
from im_local.certificates import certificates_once
from im_local.errors import LocalError
from im_local.files import secret_once
from im_local.infra_server import Cluster, Server
from im_local.install import GALERA, program
from im_local.paths import ROOT, DataDir
from im_local.ports import HOST
from im_local.sql_servers import account, make_mariadb, mariadb_argv, write_accounts

NODES = (1, 2, 3)
PROXY = "mysql-proxy"
_USER, _ADMIN = "im", "admin"
# The proxy, and what it tells of the nodes.
_PROXY, _STATUS = 13401, 13402
# Of the first node: for clients; between nodes; for what a node that comes back has missed, as single
# changes and as a whole.
_CLIENTS, _GROUP, _CHANGES, _WHOLE = 13411, 13421, 13431, 13441
_POSITION = re.compile(r"Recovered position: *(\S+):(-?\d+)")
_FIRST_LIMIT_S = 120.0
_NOTHING = ("00000000-0000-0000-0000-000000000000", -1)


@dataclass(frozen=True)
class Galera:
    """The servers of one data folder."""

    data: DataDir
    port_offset: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def folder(self) -> Path:
        return self.data.path / "infra" / "galera"

    def servers(self) -> list[Server]:
        proxy = Server(
            PROXY,
            self.folder / "proxy",
            [self._at(_PROXY), self._at(_STATUS)],
            probes.mysql(self._at(_PROXY)),
            self._proxy_argv,
        )
        return [*(self._server(node) for node in NODES), proxy]

    def _server(self, node: int) -> Server:
        return Server(
            _name(node),
            self.folder / str(node),
            [self._at(first, node) for first in (_CLIENTS, _GROUP, _CHANGES, _WHOLE)],
            # It takes part, and the proxy knows.
            probes.http(self._at(_STATUS), f"/node-{node}"),
            partial(self._argv, node),
        )

    def ask(self, statement: str, *, node: int | None = None) -> str:
        """What the admin gets for it: at a node, or where the proxy leads. Raises LocalError."""
        port = self._at(_PROXY) if node is None else self._at(_CLIENTS, node)
        argv = [program("mariadb"), "--no-defaults", "--batch", "--skip-column-names"]
        argv += [f"--host={HOST}", f"--port={port}", f"--user={_ADMIN}", f"--execute={statement}"]
        done = subprocess.run(
            argv,
            env={**os.environ, "MYSQL_PWD": self._password(_ADMIN)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LocalError(f"{statement}: {done.stderr}")
        return done.stdout.strip()

    def in_use(self) -> int:
        """The node that the proxy leads to. Raises LocalError when it leads to none."""
        return int(self.ask("SELECT @@wsrep_node_name").rpartition("-")[2])

    def is_whole(self) -> bool:
        """Whether all nodes take part and take writes."""
        return all(
            probes.passes_now(probes.http(self._at(_STATUS), f"/node-{node}")) for node in NODES
        )

    def _at(self, first: int, node: int = 1) -> int:
        return first + node - 1 + self.port_offset

    def _argv(self, node: int) -> list[str]:
        with self._lock:
            first = self._first
        settings = [*self._settings(node)]
        if node == first:
            settings.append("--wsrep-new-cluster")
        else:
            # What the first one does is done on all.
            settings.append("--init-file=")
            (self.folder / str(node) / "data").mkdir(parents=True, exist_ok=True)
            if first is not None:
                # Who looks for others before there is a first stays apart from it.
                _wait_for(self._at(_GROUP, first))
        position = self._position(node)
        if position != _NOTHING:
            # As after a kill it would not know by itself, and ask for all.
            settings.append("--wsrep-start-position={}:{}".format(*position))
        return [*_keeps_rights(), *self._mariadbd(node), *settings]

    @cached_property
    def _first(self) -> int | None:
        """Who begins; None when others are there to join. They are made ready side by side."""
        if any(_answers(self._at(_GROUP, node)) for node in NODES):
            return None
        # Who has most; the others take the rest of it.
        first = max(NODES, key=lambda node: (self._position(node)[1], -node))
        data = self.folder / str(first) / "data"
        if not data.exists():
            make_mariadb(data.parent)
        state = data / "grastate.dat"
        if state.exists():
            text = state.read_text(encoding="utf-8")
            state.write_text(text.replace("bootstrap: 0", "bootstrap: 1"), encoding="utf-8")
        return first

    def _position(self, node: int) -> tuple[str, int]:
        """Up to where it has what was written; it does not run."""
        if not (self.folder / str(node) / "data" / "ibdata1").exists():
            return _NOTHING
        argv = [*self._mariadbd(node), *self._settings(node), "--init-file=", "--wsrep-recover"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        found = _POSITION.search(done.stderr + done.stdout)
        return (found[1], int(found[2])) if found else _NOTHING

    def _mariadbd(self, node: int) -> list[str]:
        password = self._password(_USER)
        statements = [
            *account(_USER, password, r"ALL PRIVILEGES ON `im\_%`.*"),
            *account(_ADMIN, self._password(_ADMIN), "ALL PRIVILEGES ON *.*"),
            # The proxy's.
            f"CREATE USER IF NOT EXISTS 'check'@'{HOST}'",
        ]
        accounts = write_accounts(self.data.secrets / "galera_accounts.sql", statements)
        return mariadb_argv(self.folder / str(node), self._at(_CLIENTS, node), accounts, make=False)

    def _settings(self, node: int) -> Iterable[str]:
        group = ",".join(f"{HOST}:{self._at(_GROUP, other)}" for other in NODES)
        made = certificates_once(self.data.secrets / "tls")
        ca, certificate, key = made.ca, made.certificate("server"), made.key("server")
        yield from (f"--ssl-ca={ca}", f"--ssl-cert={certificate}", f"--ssl-key={key}")
        yield from ("--binlog-format=ROW", "--innodb-autoinc-lock-mode=2")
        yield "--innodb-buffer-pool-size=64M"
        yield from ("--wsrep-on=ON", f"--wsrep-provider={GALERA}", "--wsrep-cluster-name=im")
        yield from (f"--wsrep-node-name={_name(node)}", f"--wsrep-cluster-address=gcomm://{group}")
        yield f"--wsrep-node-address={HOST}:{self._at(_GROUP, node)}"
        yield "--wsrep-sst-method=rsync"
        yield f"--wsrep-sst-receive-address={HOST}:{self._at(_WHOLE, node)}"
        options = {
            "gmcast.listen_addr": f"ssl://{HOST}:{self._at(_GROUP, node)}",
            "ist.recv_addr": f"{HOST}:{self._at(_CHANGES, node)}",
            "socket.ssl_ca": ca,
            "socket.ssl_cert": certificate,
            "socket.ssl_key": key,
        }
        told = ";".join(f"{name}={value}" for name, value in options.items())
        yield f"--wsrep-provider-options={told}"

    def _proxy_argv(self) -> list[str]:
        addresses = {"PROXY": self._at(_PROXY), "STATUS": self._at(_STATUS)}
        addresses |= {f"NODE_{node}": self._at(_CLIENTS, node) for node in NODES}
        told = [f"{name}={HOST}:{port}" for name, port in addresses.items()]
        config = ROOT / "deploy/galera/haproxy.cfg"
        return ["/usr/bin/env", *told, program("haproxy"), "-db", "-f", str(config)]

    def _password(self, user: str) -> str:
        with self._password_lock:
            return secret_once(self.data.secrets / _password_file(user), bytes_of_entropy=24)

    @cached_property
    def _password_lock(self) -> threading.Lock:
        return threading.Lock()


def _name(node: int) -> str:
    return f"mysql-{node}"


def _password_file(user: str) -> str:
    return "mysql_password" if user == _USER else f"mysql_{user}_password"


def _answers(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((HOST, port)) == 0


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _FIRST_LIMIT_S
    while not _answers(port):
        if time.monotonic() > deadline:
            raise LocalError(f"The first node of Galera does not answer at port {port}.")
        time.sleep(0.1)


def _keeps_rights() -> list[str]:
    """Started by root, rsync's daemon becomes `nobody`, who may not write into our folder."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return []
    return [program("setpriv"), "--securebits", "+no_setuid_fixup"]


def _described(port_offset: int) -> dict[str, Any]:
    return {
        "host": HOST,
        "port": _PROXY + port_offset,
        "user": _USER,
        "password_file": f"secrets/{_password_file(_USER)}",
        "tls": "verify_identity",
        "tls_ca_file": "secrets/tls/ca.pem",
        "nodes": [f"{HOST}:{_CLIENTS + node - 1 + port_offset}" for node in NODES],
    }


GALERA_CLUSTER = Cluster("mysql", lambda data, offset: Galera(data, offset).servers(), _described)
