"""The file that names servers to use instead of the embedded ones (`--infra FILE`)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from im_local.errors import LocalError


@dataclass(frozen=True)
class Infra:
    """Addresses are `host:port`."""

    mysql: str
    mysql_user: str
    mysql_password: str = field(repr=False)
    # `tls`, `tls_ca_file` and so on, as the services' settings of the database have them.
    mysql_tls: dict[str, str]
    kafka: list[str]
    # `username`, `tls_ca_file` and so on, as the services' settings of the bus have them.
    kafka_access: dict[str, str] = field(repr=False)
    # An address, or several separated by commas.
    redis: str
    # The same of Redis.
    redis_access: dict[str, str] = field(repr=False)
    etcd: list[str]
    # The same of etcd.
    etcd_access: dict[str, str] = field(repr=False)
    # Where files are: `endpoint` and so on, as the api-gateway's settings of S3 have it; or nothing.
    s3: dict[str, str]
    # TLS between the services: `ca_cert_file` and so on, as their settings have it; or nothing.
    rpc_tls: dict[str, str]
    # Of servers on this machine, when their launcher wrote them down.
    pids: dict[str, int]


def read_infra(path: Path) -> Infra:
    """Read the file; raises LocalError when it does not say what is needed."""
    # Only this way of starting needs YAML; the supervisor stays small without it.
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _infra(content, path.parent)
    except (OSError, yaml.YAMLError, ValueError, TypeError) as error:
        raise LocalError(f"{path}: {error}") from error
    except KeyError as error:
        raise LocalError(f"{path}: {error.args[0]} is missing") from error


def access_of(server: dict[str, Any], folder: Path) -> dict[str, str]:
    """All but the addresses, with the password itself; files are beside the file that names them."""
    found = {key: str(value) for key, value in server.items() if not isinstance(value, list)}
    files = {
        key: str(folder.absolute() / value)
        for key, value in found.items()
        if key.endswith("_file") and not key.endswith("password_file")
    }
    secrets = {
        key.removesuffix("_file"): (folder / value).read_text(encoding="utf-8").strip()
        for key, value in found.items()
        if key.endswith("password_file")
    }
    plain = {key: value for key, value in found.items() if not key.endswith("_file")}
    return plain | files | secrets


def redis_address(redis: dict[str, Any]) -> str:
    """`host` and `port`, or all `hosts` of a cluster or the Sentinels."""
    return ",".join(redis["hosts"]) if "hosts" in redis else _address(redis, 6379)


def redis_access(redis: dict[str, Any], folder: Path) -> dict[str, str]:
    """What else its part of the file says, as the services' settings have it."""
    known = {name: value for name, value in redis.items() if name not in ("host", "port")}
    return access_of(known, folder)


def _infra(content: dict[str, Any], folder: Path) -> Infra:
    mysql, redis = content["mysql"], content["redis"]
    return Infra(
        mysql=_address(mysql, 3306),
        mysql_user=str(mysql["user"]),
        mysql_password=_password(mysql, folder),
        mysql_tls=_tls(mysql, folder),
        kafka=[str(broker) for broker in content["kafka"]["brokers"]],
        kafka_access=access_of(content["kafka"], folder),
        redis=redis_address(redis),
        redis_access=redis_access(redis, folder),
        etcd=[str(host) for host in content["etcd"]["hosts"]],
        etcd_access=access_of(content["etcd"], folder),
        s3=access_of(content.get("s3", {}), folder),
        rpc_tls=access_of(content.get("rpc_tls", {}), folder),
        pids={str(name): int(pid) for name, pid in content.get("pids", {}).items()},
    )


def _address(server: dict[str, Any], port: int) -> str:
    return f"{server['host']}:{int(server.get('port', port))}"


def _password(server: dict[str, Any], folder: Path) -> str:
    if "password_file" in server:
        return (folder / str(server["password_file"])).read_text(encoding="utf-8").strip()
    return str(server.get("password", ""))


def _tls(server: dict[str, Any], folder: Path) -> dict[str, str]:
    """All that begins with `tls`; files are beside the file that names them."""
    found = {key: str(value) for key, value in server.items() if key.startswith("tls")}
    return {
        key: str(folder.absolute() / value) if key.endswith("_file") else value
        for key, value in found.items()
    }
