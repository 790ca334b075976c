"""Typed settings: YAML with go-zero's keys, `IM_…` variables on top, secrets only from outside.

A settings class derives from :class:`Settings`. The YAML spells its fields in PascalCase
(`ListenOn`), a variable in upper snake case with `__` between levels (`IM_ETCD__HOSTS`). Any key or
variable that nobody knows is an error: a mistyped name must not be silently without effect.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, cast

import yaml
from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    model_validator,
)
from pydantic import ValidationError as PydanticError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from im_common.runtime import go_zero
from im_common.runtime.sections import (
    AddressOrNothing,
    BusConf,
    ClientConf,
    DevServerConf,
    EtcdConf,
    ListenAddress,
    LogConf,
    RedisConf,
    RpcTlsConf,
    TelemetryConf,
)

PREFIX = "IM_"
MIN_SECRET_BYTES = 32


class ConfigError(Exception):
    """The settings cannot be used; the text says which key or variable and why."""


class Settings(BaseSettings):
    """What every process has. Secrets have no place in the YAML."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    # What it is called in logs, in traces and by other services.
    name: str
    # `off` turns every rate limit off, for benchmarks.
    rate_limits: Literal["on", "off"] = "on"
    # Signs the tokens that services show each other; at least 32 bytes.
    internal_secret: SecretStr = SecretStr("")
    etcd: EtcdConf = EtcdConf()
    redis: RedisConf = RedisConf()
    rpc_tls: RpcTlsConf = RpcTlsConf()
    dev_server: DevServerConf = DevServerConf()
    log: LogConf = LogConf()
    telemetry: TelemetryConf = TelemetryConf()
    # Time for what is in flight at the end, in milliseconds.
    grace: int = Field(default=5000, ge=0, le=10_000)

    @model_validator(mode="after")
    def _check_bus(self) -> Self:
        bus = getattr(self, "bus", None)
        if isinstance(bus, BusConf) and bus.kind == "redis" and self.redis.type != "node":
            raise ValueError(
                "Bus.Kind redis needs Redis.Type node, a server that keeps all it has answered; with"
                f" Redis.Type {self.redis.type}, whose failover may lose the last records, write"
                " Bus.Kind: kafka"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Those that name a secret's file are no settings; `load` reads them.
        assert isinstance(env_settings, EnvSettingsSource)
        files = {f"{variable_name(path)}_FILE".lower() for path in _secret_paths(settings_cls)}
        env_settings.env_vars = {n: v for n, v in env_settings.env_vars.items() if n not in files}
        # init_settings is the YAML; the environment goes before it.
        return (env_settings, init_settings)


class RpcSettings(Settings):
    """A process that serves gRPC."""

    # host:port of the gRPC server, or :port; port 0 takes a free one.
    listen_on: ListenAddress = "127.0.0.1:0"
    # host:port that others are told in the place of ListenOn, or of the machine's own address where
    # that is all interfaces (behind a NAT, by a name).
    advertise_on: AddressOrNothing = ""
    # Deadline of an incoming call that brings none, in milliseconds.
    timeout: int = Field(default=2000, ge=1)

    @model_validator(mode="after")
    def _check_certificate(self) -> Self:
        if self.rpc_tls.ca_cert_file and not self.rpc_tls.cert_file:
            raise ValueError("RpcTls.CertFile and CertKeyFile are missing: a server shows one")
        return self


SettingsT = TypeVar("SettingsT", bound=Settings)


def load(cls: type[SettingsT], path: Path, environ: Mapping[str, str] = os.environ) -> SettingsT:
    """Reads the YAML at ``path``, puts the variables on top and checks the whole.

    Raises:
        ConfigError: unreadable file, unknown key or variable, a value of the wrong kind, a secret
            in the YAML, an internal secret that is missing or shorter than 32 bytes, or files of
            `RpcTls` that cannot be used.
    """
    values = _read_yaml(path)
    try:
        go_zero.translate(values, _clients(cls))
    except go_zero.Refused as error:
        raise ConfigError(f"{path}: {error}") from None
    for secret_path in _secret_paths(cls):
        if _lookup(values, secret_path) is not None:
            name = variable_name(secret_path)
            raise ConfigError(f"{path}: secrets do not belong in YAML; set {name} or {name}_FILE")
    _refuse_unknown_variables(cls, environ)
    _put_secret_files(cls, values, environ)
    try:
        settings = cls(**values)
    except PydanticError as error:
        raise ConfigError(f"{path}: {_explain(error, cls)}") from None
    except ValueError as error:  # pydantic-settings: a variable that cannot be parsed
        raise ConfigError(f"{path}: {error}") from None
    _check_secret(settings)
    _check_peer_files(settings.rpc_tls)
    return settings


def known_variables(cls: type[Settings]) -> set[str]:
    """Names of all variables that ``cls`` understands, `…_FILE` of the secrets included."""
    names = {variable_name(path) for path, _ in _leaves(cls)}
    return names | {variable_name(path) + "_FILE" for path in _secret_paths(cls)}


def variable_name(path: tuple[str, ...]) -> str:
    """``("redis", "host")`` is `IM_REDIS__HOST`."""
    return PREFIX + "__".join(path).upper()


def show(settings: Settings) -> str:
    """The settings in force as YAML, secrets masked."""
    text: str = yaml.safe_dump(_pascal(settings.model_dump(mode="json")), sort_keys=False)
    return text


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must be a mapping of settings")
    return cast("dict[str, Any]", _snake(values))


def _snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {go_zero.snake_key(str(key)): _snake(inner) for key, inner in value.items()}
    return value


def _pascal(value: Any) -> Any:
    if isinstance(value, dict):
        return {go_zero.pascal_key(key): _pascal(inner) for key, inner in value.items()}
    return value


def _leaves(
    cls: type[BaseModel], prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, info in cls.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _leaves(kind, (*prefix, name))
        else:
            yield (*prefix, name), kind


def _clients(cls: type[BaseModel]) -> list[str]:
    return [name for name, info in cls.model_fields.items() if info.annotation is ClientConf]


def _secret_paths(cls: type[BaseModel]) -> list[tuple[str, ...]]:
    return [path for path, kind in _leaves(cls) if kind is SecretStr]


def _lookup(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = values
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _refuse_unknown_variables(cls: type[Settings], environ: Mapping[str, str]) -> None:
    known = known_variables(cls)
    unknown = sorted(n for n in environ if n.upper().startswith(PREFIX) and n.upper() not in known)
    if unknown:
        hints = [
            f"{name} (did you mean {close[0]}?)" if close else name
            for name in unknown
            for close in [difflib.get_close_matches(name.upper(), known, n=1)]
        ]
        raise ConfigError(f"unknown variable {', '.join(hints)}")


def _put_secret_files(
    cls: type[Settings], values: dict[str, Any], environ: Mapping[str, str]
) -> None:
    for path in _secret_paths(cls):
        file = environ.get(variable_name(path) + "_FILE")
        if not file:
            continue
        if environ.get(variable_name(path)):
            raise ConfigError(f"set {variable_name(path)} or {variable_name(path)}_FILE, not both")
        try:
            secret = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"{variable_name(path)}_FILE: {error}") from None
        target = values
        for part in path[:-1]:
            target = target.setdefault(part, {})
        target[path[-1]] = secret


def _check_secret(settings: Settings) -> None:
    size = len(settings.internal_secret.get_secret_value().encode())
    if size < MIN_SECRET_BYTES:
        raise ConfigError(
            f"IM_INTERNAL_SECRET must have at least {MIN_SECRET_BYTES} bytes, it has {size}"
        )


def _check_peer_files(conf: RpcTlsConf) -> None:
    if not conf.ca_cert_file:
        return
    # Loaded only where there is TLS.
    from im_common.runtime.peer_files import read_peer_files

    try:
        read_peer_files(conf)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _explain(error: PydanticError, cls: type[Settings]) -> str:
    known = {variable_name(path): path for path, _ in _leaves(cls)}
    problems = []
    for item in error.errors():
        # A place in a list is a number; the variable is for the whole list.
        place = tuple(part for part in item["loc"] if isinstance(part, str))
        variable = variable_name(place)
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            close = difflib.get_close_matches(variable, known, n=1)
            hint = ".".join(go_zero.pascal_key(part) for part in known[close[0]]) if close else ""
            problems.append(f"{where}: unknown key" + (f" (did you mean {hint}?)" if hint else ""))
        else:
            said = f" (variable {variable})" if variable in known else ""
            problems.append(f"{where}{said}: {item['msg']}")
    return "; ".join(problems)
