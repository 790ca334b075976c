"""The Redis Cluster, or the master behind Sentinels, that IM_TEST_INFRA names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis

from im_common.runtime.redis_client import connection_options
from im_common.runtime.sections import RedisConf
from im_local.infra_file import redis_access, redis_address


class SharedRedis:
    """Several servers that are everybody's. What a test would do to a server of its own is not done to
    these: the test is skipped."""

    def __init__(self, file: Path, described: dict[str, Any]) -> None:
        redis = described["redis"]
        settings: dict[str, Any] = redis_access(redis, file.parent)
        self.conf = RedisConf(host=redis_address(redis), **settings)
        self._nodes: list[str] = redis["nodes"]

    def a_master(self) -> str:
        """The name of a server that is one now."""
        for number, address in enumerate(self._nodes, 1):
            one = RedisConf(host=address, **self._of_one())
            options = connection_options(one, timeout_s=1.0)
            options.pop("connection_class", None)
            options.pop("retry")
            with Redis(ssl=one.tls, **options) as client:
                try:
                    if client.execute_command("ROLE")[0] == b"master":
                        return f"redis-{number}"
                except OSError:
                    continue
        raise LookupError("none of the servers is a master")

    def kill(self) -> None:
        pytest.skip("the servers of Redis are everybody's")

    start = freeze = thaw = lose_data = kill

    def _of_one(self) -> dict[str, Any]:
        only = {"username", "password", "tls", "tls_ca_file", "tls_cert_file", "tls_key_file"}
        return {name: getattr(self.conf, name) for name in only}


def infra_redis() -> SharedRedis | None:
    """None where there is one server, or none."""
    path = os.environ.get("IM_TEST_INFRA")
    if not path:
        return None
    described: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if described.get("redis", {}).get("type", "node") == "node":
        return None
    return SharedRedis(Path(path).absolute(), described)
