"""Settings: YAML with go-zero's keys, variables on top, secrets from outside, nothing unknown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from im_common.runtime.config import ConfigError, RpcSettings, known_variables, load, show
from im_common.runtime.sections import BusConf, ClientConf, DbConf

SECRET = {"IM_INTERNAL_SECRET": "s" * 32}


class Example(RpcSettings):
    db: DbConf
    bus: BusConf = BusConf()
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


def with_line(yaml: Path, line: str) -> None:
    """Puts ``line`` in place of those of its key."""
    kept = [x for x in yaml.read_text().splitlines() if x.split(":")[0] != line.split(":")[0]]
    yaml.write_text("\n".join([*kept, line]) + "\n")


def test_a_client_is_found_as_go_zero_writes_it(
    yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_line(yaml, "UserRpc: {Etcd: {Hosts: [127.0.0.1:2379], Key: people.rpc}, NonBlock: true}")
    assert _load(yaml, monkeypatch).user_rpc.key == "people.rpc"
    with_line(yaml, "Etcd: {Key: example.rpc}")
    with_line(yaml, "UserRpc: {Etcd: {Hosts: ['127.0.0.1:9'], Key: people.rpc}}")
    assert _load(yaml, monkeypatch).etcd.hosts == ["127.0.0.1:9"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("UserRpc: {Etcd: {Hosts: ['9.9.9.9:1'], Key: a}}", "UserRpc.Etcd.Hosts .* one etcd"),
        ("UserRpc: {Etcd: {Key: a}, Key: b}", "write one of them"),
        ("UserRpc: {Etcd: {Key: a, ID: 1}}", "UserRpc.Etcd.Id .* leave it out"),
        ("UserRpc: {Etcd: {Key: a, Pass: pw}}", "UserRpc.Etcd.Pass .* IM_ETCD__PASSWORD_FILE"),
        ("UserRpc: {Target: 'direct:///a:1'}", "UserRpc.Target .* write Endpoints"),
        ("UserRpc: {Key: user.rpc, Timeout: 0}", "UserRpc.Timeout must not be 0.* milliseconds"),
        ("Timeout: 0", "Timeout must not be 0.* milliseconds"),
        ("Etcd: {Hosts: ['127.0.0.1:1'], Pass: pw}", "Etcd.Pass .* IM_ETCD__PASSWORD_FILE"),
        ("Etcd: {CertFile: a.pem}", "CertFile and CertKeyFile go together"),
        ("Etcd: {InsecureSkipVerify: true}", "Etcd.InsecureSkipVerify must be false"),
        ("Etcd: {Hosts: ['https://a:1', 'b:1']}", "begin with https://, or none"),
        ("Redis: {Host: 'a:1', Pass: pw}", "Redis.Pass .* IM_REDIS__PASSWORD_FILE"),
        ("Redis: {Host: 'a:1,b:2'}", "redis: .*several addresses; write Type: cluster"),
        ("Redis: {Host: 'a:1,b', Type: cluster}", "redis.host .*must be host:port"),
        ("Redis: {Host: 'a:1', Type: cluster, Db: 1}", "a cluster has one database"),
        ("Redis: {Host: 'a:1', Type: sentinel}", "sentinel and MasterName go together"),
        ("Redis: {Host: 'a:1', MasterName: im}", "sentinel and MasterName go together"),
        ("Redis: {Host: 'a:1', SentinelUsername: im}", "are for Type: sentinel"),
        ("Redis: {Host: 'a:1', TlsCaFile: ca.pem}", "Tls is false, so TlsCaFile"),
        ("Redis: {Host: 'a:1', Tls: true, TlsCertFile: c.pem}", "TlsKeyFile go together"),
        ("Redis: {Host: 'a:1', SentinelPassword: pw}", "IM_REDIS__SENTINEL_PASSWORD_FILE"),
        ("Mode: dev", "Mode .* leave it out"),
        ("Telemetry: {Batcher: zipkin}", "IM_TELEMETRY__BATCHER.*'otlpgrpc' or 'otlphttp'"),
        ("Telemetry: {Endpoint: 'udp://a:1'}", "IM_TELEMETRY__ENDPOINT.* http://"),
        ("Telemetry: {OtlpHeaders: {a: b}}", "Telemetry.OtlpHeaders .* leave it out"),
        ("Telemetry: {Disabled: true}", "Telemetry.Disabled .* leave Telemetry out"),
        ("Prometheus: {Port: 1}", "Prometheus .* write DevServer"),
    ],
)
def test_what_is_go_zeros_alone_is_refused_with_what_to_write(
    yaml: Path, monkeypatch: pytest.MonkeyPatch, line: str, sentence: str
) -> None:
    with_line(yaml, line)
    with pytest.raises(ConfigError, match=sentence) as refused:
        _load(yaml, monkeypatch)
    assert "pw" not in str(refused.value)


class WithBus(Example):
    bus: BusConf = BusConf()


@pytest.mark.parametrize("type_", ["cluster", "sentinel"])
def test_a_log_in_redis_is_refused_where_a_failover_may_lose_it(
    yaml: Path, monkeypatch: pytest.MonkeyPatch, type_: str
) -> None:
    name = ", MasterName: im" if type_ == "sentinel" else ""
    with_line(yaml, f"Redis: {{Host: 'a:1,b:2', Type: {type_}{name}}}")
    with_line(yaml, "Bus: {Kind: redis}")
    for key, value in SECRET.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(ConfigError, match=f"Redis.Type {type_}.* write Bus.Kind: kafka"):
        load(WithBus, yaml, SECRET)


def test_what_go_zero_has_and_means_the_same_is_taken(
    yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_line(yaml, "Mode: pro")
    with_line(yaml, "Redis: {Host: '127.0.0.1:6379', Type: node, User: im}")
    with_line(yaml, "Etcd: {Hosts: ['http://127.0.0.1:1', 'http://127.0.0.1:2/'], Key: a}")
    with_line(yaml, "DevServer: {Enabled: true, Port: 9}")
    settings = _load(yaml, monkeypatch)
    assert settings.redis.username == "im"
    assert settings.etcd.hosts == ["127.0.0.1:1", "127.0.0.1:2"]
    assert settings.dev_server.port == 9


def test_what_protects_etcd_is_spelt_as_in_go_zero(
    yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = "Hosts: ['a:1'], User: im, CertFile: a.pem, CertKeyFile: a.key, CACertFile: ca.pem"
    with_line(yaml, f"Etcd: {{{same}, Key: example.rpc, InsecureSkipVerify: false}}")
    with_line(yaml, f"UserRpc: {{Etcd: {{{same}, Key: user.rpc}}}}")
    etcd = _load(yaml, monkeypatch, IM_ETCD__PASSWORD="pw").etcd
    assert (etcd.user, etcd.password.get_secret_value(), etcd.tls) == ("im", "pw", True)
    assert (etcd.cert_file, etcd.cert_key_file, etcd.ca_cert_file) == ("a.pem", "a.key", "ca.pem")


def test_hosts_of_etcd_may_say_that_there_is_tls(
    yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_line(yaml, "Etcd: {Hosts: ['https://a:1', 'https://b:1/']}")
    etcd = _load(yaml, monkeypatch).etcd
    assert (etcd.hosts, etcd.tls) == (["https://a:1", "https://b:1"], True)
    with_line(yaml, "Etcd: {Hosts: ['http://a:1', 'b:1']}")
    assert not _load(yaml, monkeypatch).etcd.tls


@pytest.mark.parametrize(
    ("bus", "sentence"),
    [
        ("Username: im", "IM_BUS__PASSWORD go together"),
        ("Password: pw", "IM_BUS__PASSWORD_FILE"),
        ("Replication: 2, MinInSync: 3", "nothing could ever be written"),
        ("TlsCaFile: ca.pem", "Tls is off"),
        ("Mechanism: GSSAPI", "mechanism"),
    ],
)
def test_settings_of_kafka_that_cannot_be_are_refused(
    yaml: Path, monkeypatch: pytest.MonkeyPatch, bus: str, sentence: str
) -> None:
    with_line(yaml, f"Bus: {{{bus}}}")
    with pytest.raises(ConfigError, match=sentence):
        _load(yaml, monkeypatch)


def test_the_file_that_go_queue_has_for_kafka_means_tls(
    yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_line(yaml, "Bus: {Brokers: ['a:1'], Username: im, CaFile: ca.pem}")
    bus = _load(yaml, monkeypatch, IM_BUS__PASSWORD="pw").bus
    assert (bus.tls, bus.tls_ca_file) == ("verify_identity", "ca.pem")


def test_an_unknown_key_is_told_without_a_variable_that_does_not_exist(
    yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_line(yaml, "Log: {Levle: info}")
    with pytest.raises(
        ConfigError, match=r"log\.levle: unknown key \(did you mean Log\.Level\?\)"
    ) as e:
        _load(yaml, monkeypatch)
    assert "IM_" not in str(e.value)
    with_line(yaml, "Log: {Level: loud}")
    with_line(yaml, "Etcd: {Hosts: [nowhere]}")
    with pytest.raises(ConfigError, match=r"IM_LOG__LEVEL") as e:
        _load(yaml, monkeypatch)
    named = set(re.findall(r"IM_[A-Z_0-9]+", str(e.value)))
    assert named == {"IM_LOG__LEVEL", "IM_ETCD__HOSTS"}


def test_a_secret_in_the_yaml_is_refused(yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml.write_text(yaml.read_text() + f"InternalSecret: {'x' * 40}\n")
    with pytest.raises(ConfigError, match="secrets do not belong in YAML"):
        _load(yaml, monkeypatch)


@pytest.mark.parametrize("said", ["ssl=true", "charset=utf8mb4&ssl_ca=ca.pem"])
def test_tls_to_the_database_is_not_asked_for_in_its_address(
    yaml: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    source = f"mysql+asyncmy://im@127.0.0.1/im?{said}"
    with pytest.raises(ConfigError, match=r"IM_DB__DATA_SOURCE.*DB\.Tls is for that"):
        _load(yaml, monkeypatch, IM_DB__DATA_SOURCE=source)


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


def test_so_may_one_of_a_section(
    yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside settings of the same section."""
    file = tmp_path / "password"
    file.write_text("from a file\n")
    files = {"IM_DB__PASSWORD_FILE": str(file), "IM_BUS__PASSWORD_FILE": str(file)}
    settings = _load(yaml, monkeypatch, IM_DB__POOL_SIZE="3", IM_BUS__USERNAME="im", **files)
    assert settings.db.password.get_secret_value() == "from a file"
    assert settings.bus.password.get_secret_value() == "from a file"
    assert (settings.db.pool_size, settings.bus.username) == (3, "im")


def test_what_is_shown_hides_secrets(yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = show(_load(yaml, monkeypatch, IM_DB__PASSWORD="hunter2hunter2"))
    assert "ListenOn: 127.0.0.1:5000" in text
    assert "hunter2" not in text
    assert "s" * 32 not in text


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"IM_DB__TLS_CA_FILE": "ca.pem"}, "Tls is off"),
        ({"IM_DB__TLS": "required", "IM_DB__TLS_KEY_FILE": "key.pem"}, "go together"),
        ({"IM_DB__TLS": "yes"}, r"db\.tls.*'verify_identity'"),
    ],
)
def test_settings_of_tls_that_do_nothing_are_refused(
    yaml: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        _load(yaml, monkeypatch, **variables)
