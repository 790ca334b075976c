"""Settings: YAML with go-zero's keys, variables on top, secrets from outside, nothing unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from im_common.runtime.config import (
    ClientConf,
    ConfigError,
    DbConf,
    RpcSettings,
    known_variables,
    load,
    show,
)

SECRET = {"IM_INTERNAL_SECRET": "s" * 32}


class Example(RpcSettings):
    db: DbConf
    user_rpc: ClientConf = ClientConf(key="user.rpc")


@pytest.fixture
def yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in known_variables(Example):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "example.yaml"
    file.write_text(
        "Name: example\n"
        "ListenOn: 127.0.0.1:5000\n"
        "Etcd: {Hosts: [127.0.0.1:2379], Key: example.rpc}\n"
        "DB: {DataSource: 'sqlite+aiosqlite:///x.db'}\n"
        "UserRpc: {Key: user.rpc, Timeout: 1500}\n"
    )
    return file


def _load(yaml: Path, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Example:
    environ = SECRET | variables
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return load(Example, yaml, environ)


def test_go_zeros_keys_are_read(yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(yaml, monkeypatch)
    assert settings.listen_on == "127.0.0.1:5000"
    assert settings.etcd.key == "example.rpc"
    assert settings.user_rpc.timeout == 1500


def test_variables_override_single_keys(yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(
        yaml,
        monkeypatch,
        IM_ETCD__HOSTS="127.0.0.1:1, 127.0.0.1:2",
        IM_DB__PASSWORD="pw",
        IM_RATE_LIMITS="off",
    )
    assert settings.etcd.hosts == ["127.0.0.1:1", "127.0.0.1:2"]
    assert settings.etcd.key == "example.rpc"
    assert settings.db.password.get_secret_value() == "pw"
    assert settings.rate_limits == "off"


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("Listen: 127.0.0.1:1\n", "listen"),
        ("Log: {Levle: info}\n", "log.levle"),
        ("ListenOn: nowhere\n", "listen_on"),
        ("Timeout: fast\n", "timeout"),
    ],
)
def test_a_wrong_key_or_value_is_named(
    yaml: Path, monkeypatch: pytest.MonkeyPatch, line: str, names: str
) -> None:
    kept = [x for x in yaml.read_text().splitlines() if x.split(":")[0] != line.split(":")[0]]
    yaml.write_text("\n".join(kept) + "\n" + line)
    with pytest.raises(ConfigError, match=names):
        _load(yaml, monkeypatch)


def test_an_unknown_variable_is_refused_with_a_hint(
    yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"IM_ETCD__HOST .*did you mean IM_ETCD__HOSTS"):
        _load(yaml, monkeypatch, IM_ETCD__HOST="127.0.0.1:1")


@pytest.mark.parametrize("secret", ["", "short"])
def test_a_weak_internal_secret_is_refused(
    yaml: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    with pytest.raises(ConfigError, match="IM_INTERNAL_SECRET must have at least 32 bytes"):
        _load(yaml, monkeypatch, IM_INTERNAL_SECRET=secret)


@pytest.mark.parametrize("wrong", ["10.0.0.5", "10.0.0.5:x", ":5000"])
def test_what_others_are_told_must_be_an_address(
    yaml: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    with pytest.raises(ConfigError, match=r"advertise_on.*host:port"):
        _load(yaml, monkeypatch, IM_ADVERTISE_ON=wrong)
    assert _load(yaml, monkeypatch, IM_ADVERTISE_ON="pod-7:5000").advertise_on == "pod-7:5000"


def test_a_port_alone_listens_on_all_interfaces(
    yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _load(yaml, monkeypatch, IM_LISTEN_ON=":8080")
    assert settings.listen_on == "0.0.0.0:8080"
    # To connect to, a host is needed.
    with pytest.raises(ConfigError, match=r"redis\.host"):
        _load(yaml, monkeypatch, IM_REDIS__HOST=":6379")


def test_a_secret_in_the_yaml_is_refused(yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml.write_text(yaml.read_text() + f"InternalSecret: {'x' * 40}\n")
    with pytest.raises(ConfigError, match="secrets do not belong in YAML"):
        _load(yaml, monkeypatch)


def test_a_secret_may_come_from_a_file(
    yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IM_INTERNAL_SECRET", raising=False)
    file = tmp_path / "secret"
    file.write_text("f" * 40 + "\n")
    environ = {"IM_INTERNAL_SECRET_FILE": str(file)}
    settings = load(Example, yaml, environ)
    assert settings.internal_secret.get_secret_value() == "f" * 40
    with pytest.raises(ConfigError, match="not both"):
        load(Example, yaml, environ | SECRET)


def test_what_is_shown_hides_secrets(yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = show(_load(yaml, monkeypatch, IM_DB__PASSWORD="hunter2hunter2"))
    assert "ListenOn: 127.0.0.1:5000" in text
    assert "hunter2" not in text
    assert "s" * 32 not in text
