"""The sections of the settings that several processes have, and what an address is in them."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import NoDecode

from im_common.bus.kinds import KINDS


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _address(value: str) -> str:
    host, separator, port = value.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be host:port")
    return value


def _address_or_nothing(value: str) -> str:
    return _address(value) if value else value


def _addresses(value: str) -> str:
    return ",".join(_address(one.strip()) for one in value.split(","))


def _is_set(secret: SecretStr) -> bool:
    return bool(secret.get_secret_value())


def _listen_address(value: str) -> str:
    # As Go writes it: a port on all interfaces.
    return _address(f"0.0.0.0{value}" if value.startswith(":") else value)


def _bus_kind(value: str) -> str:
    if value not in KINDS:
        raise ValueError(f"must be {' or '.join(KINDS)}")
    return value


def _collector(value: str) -> str:
    scheme, _, address = value.rpartition("://")
    if scheme not in ("", "http", "https"):
        raise ValueError("must be host:port, or http:// or https:// and that")
    if value:
        _address(address)
    return value


def _etcd_address(value: str) -> str:
    # As etcd's own tools write it. What says that there is TLS stays.
    scheme = "https://" if value.startswith("https://") else "http://"
    address = _address(value.removeprefix(scheme).rstrip("/"))
    return scheme + address if scheme == "https://" else address


Address = Annotated[str, AfterValidator(_address)]
AddressOrNothing = Annotated[str, AfterValidator(_address_or_nothing)]
# What a server binds: the host may be missing.
ListenAddress = Annotated[str, AfterValidator(_listen_address)]
# A list that a variable gives separated by commas.
Addresses = Annotated[list[Address], NoDecode, BeforeValidator(_split)]
EtcdAddresses = Annotated[
    list[Annotated[str, AfterValidator(_etcd_address)]], NoDecode, BeforeValidator(_split)
]
Names = Annotated[list[str], NoDecode, BeforeValidator(_split)]


class Section(BaseModel):
    """A part of the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EtcdConf(Section):
    """Where services find each other; `key` is the prefix this service registers under.

    With `user` a process logs in. It speaks TLS when `ca_cert_file` or `cert_file` is there, or the
    hosts begin with `https://`.
    """

    hosts: EtcdAddresses = ["127.0.0.1:2379"]
    key: str = ""
    user: str = ""
    password: SecretStr = SecretStr("")
    # PEM: who signs etcd's certificates (else whom gRPC trusts), and what shows who this process is.
    ca_cert_file: str = ""
    cert_file: str = ""
    cert_key_file: str = ""

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        if bool(self.cert_file) != bool(self.cert_key_file):
            raise ValueError("CertFile and CertKeyFile go together")
        if self.password.get_secret_value() and not self.user:
            raise ValueError("a password without a User is for nothing")
        secured = [host for host in self.hosts if host.startswith("https://")]
        if secured and len(secured) < len(self.hosts):
            raise ValueError("Hosts: all of them begin with https://, or none")
        return self

    @property
    def tls(self) -> bool:
        is_secured = any(host.startswith("https://") for host in self.hosts)
        return is_secured or bool(self.ca_cert_file or self.cert_file)


class RedisConf(Section):
    """`host` is the server (`node`), some nodes of a cluster (`cluster`), or all Sentinels of the
    master that `master_name` names (`sentinel`), separated by commas.

    With `tls` the server's certificate is checked, and its name.
    """

    type: Literal["node", "cluster", "sentinel"] = "node"
    host: Annotated[str, AfterValidator(_addresses)] = "127.0.0.1:6379"
    master_name: str = ""
    db: int = 0
    username: str = ""
    password: SecretStr = SecretStr("")
    # Of the Sentinels, where they ask for it.
    sentinel_username: str = ""
    sentinel_password: SecretStr = SecretStr("")
    tls: bool = False
    # PEM. Without the first, who the system trusts; the others are for a server that asks for them.
    tls_ca_file: str = ""
    tls_cert_file: str = ""
    tls_key_file: str = ""

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each."""
        parts = (address.rpartition(":") for address in self.host.split(","))
        return [(host, int(port)) for host, _, port in parts]

    @model_validator(mode="after")
    def _check_type(self) -> Self:
        if self.type == "node" and "," in self.host:
            raise ValueError("Host has several addresses; write Type: cluster or Type: sentinel")
        if self.type == "cluster" and self.db:
            raise ValueError("a cluster has one database; leave Db out")
        if (self.type == "sentinel") != bool(self.master_name):
            raise ValueError("Type: sentinel and MasterName go together")
        if self.type != "sentinel" and (self.sentinel_username or _is_set(self.sentinel_password)):
            raise ValueError("SentinelUsername and SentinelPassword are for Type: sentinel")
        return self

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if not self.tls and (self.tls_ca_file or self.tls_cert_file or self.tls_key_file):
            raise ValueError(
                "Tls is false, so TlsCaFile, TlsCertFile and TlsKeyFile are for nothing"
            )
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("TlsCertFile and TlsKeyFile go together")
        return self


class TlsSection(Section):
    """How much of TLS there is to a server; `tls` is as ssl-mode of MySQL's own clients."""

    tls: Literal["off", "required", "verify_ca", "verify_identity"] = "off"
    # PEM. Without the first, who the system trusts; the others are for a server that asks for them.
    tls_ca_file: str = ""
    tls_cert_file: str = ""
    tls_key_file: str = ""

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if self.tls == "off" and (self.tls_ca_file or self.tls_cert_file or self.tls_key_file):
            raise ValueError("Tls is off, so TlsCaFile, TlsCertFile and TlsKeyFile are for nothing")
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("TlsCertFile and TlsKeyFile go together")
        return self


def _without_tls(source: str) -> str:
    """The driver takes none of what such a URL says of TLS elsewhere, and fails at each connection."""
    for name, _ in parse_qsl(urlsplit(source).query, keep_blank_values=True):
        if name.lower().startswith(("ssl", "tls")):
            raise ValueError(f"has {name}, which says nothing here; DB.Tls is for that")
    return source


class DbConf(TlsSection):
    """`data_source` is an SQLAlchemy URL without a password (mysql+asyncmy:// or sqlite+aiosqlite://).

    On MySQL up to `pool_size` connections are for queries, and as many for transactions.
    """

    data_source: Annotated[str, AfterValidator(_without_tls)] = (
        "mysql+asyncmy://im@127.0.0.1:3306/im"
    )
    password: SecretStr = SecretStr("")
    pool_size: int = Field(default=10, ge=1, le=200)


class BusConf(TlsSection):
    """`kafka` for production; `redis` keeps the same promises on Redis Streams.

    With `username` a process logs in to Kafka by SASL. What follows `mechanism` is for topics that are
    missing, which are made.
    """

    kind: Annotated[str, AfterValidator(_bus_kind)] = "kafka"
    brokers: Addresses = ["127.0.0.1:9092"]
    username: str = ""
    password: SecretStr = SecretStr("")
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    partitions: int = Field(default=3, ge=1, le=1000)
    # 0: three, or as many as there are brokers.
    replication: int = Field(default=0, ge=0, le=100)
    # How many replicas must have a record before it is safe; 0: all but one.
    min_in_sync: int = Field(default=0, ge=0, le=100)

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if self.replication and self.min_in_sync > self.replication:
            raise ValueError("MinInSync is more than Replication: nothing could ever be written")
        if bool(self.username) != bool(self.password.get_secret_value()):
            raise ValueError("Username and IM_BUS__PASSWORD go together")
        return self


class RpcTlsConf(Section):
    """TLS between the services: on when there is a `ca_cert_file`.

    The files may be replaced while a process runs.
    """

    # PEM: who signs the certificates of all services; several, while one takes the place of another.
    ca_cert_file: str = ""
    # PEM, with what is between it and the authority: what this process shows to servers and clients.
    cert_file: str = ""
    cert_key_file: str = ""
    # The DNS name that all certificates have. Addresses come and go, so none is looked for.
    server_name: str = Field(default="im.internal", min_length=1)
    # Whether a server asks its clients for a certificate.
    client_certs: bool = True

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        if bool(self.cert_file) != bool(self.cert_key_file):
            raise ValueError("CertFile and CertKeyFile go together")
        if self.cert_file and not self.ca_cert_file:
            raise ValueError("CaCertFile is missing: who signs the certificates of the others")
        if self.ca_cert_file and self.client_certs and not self.cert_file:
            raise ValueError("CertFile and CertKeyFile are missing, which ClientCerts asks for")
        return self


class DevServerConf(Section):
    """The HTTP port of /healthz, /readyz and /metrics."""

    host: str = "127.0.0.1"
    port: int = Field(default=9100, ge=0, le=65535)


class LogConf(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    encoding: Literal["json", "plain"] = "json"


class TelemetryConf(Section):
    """Where spans go, by OTLP; nowhere while `endpoint` is empty."""

    # What the process is called there; its own name when empty.
    name: str = ""
    # host:port, with https:// in front for TLS.
    endpoint: Annotated[str, AfterValidator(_collector)] = ""
    # Of the traces that begin here, how many are recorded: 1 for all, 0.01 for each hundredth.
    sampler: float = Field(default=1.0, ge=0, le=1)
    batcher: Literal["otlpgrpc", "otlphttp"] = "otlpgrpc"


class ClientConf(Section):
    """How to reach another service: by its etcd key, or at fixed `endpoints` instead of etcd."""

    key: str = ""
    endpoints: Addresses = []
    # Milliseconds for one call, unless the caller's own deadline is nearer.
    timeout: int = Field(default=2000, ge=1)
