"""What is done once before the services start, in a process of its own that ends again.

It imports what is large (the settings of all services, SQLAlchemy, Alembic), so that the
supervisor need not, and does in one process what would cost eight starts of Python.
"""

import asyncio
import contextlib
import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from im_local.environment import callers_variables, share_out
from im_local.errors import LocalError
from im_local.paths import ROOT


@dataclass(frozen=True)
class Subject:
    """A service to prepare; `settings` is `module:Class`, `migrations` a folder or empty."""

    name: str
    config: str
    settings: str
    migrations: str
    offers: dict[str, str]


@dataclass(frozen=True)
class Account:
    """Where databases are made that are missing; `address` is host:port, `tls` what DbConf has of
    it."""

    address: str
    user: str
    password: str
    databases: list[str]
    tls: dict[str, str]


@dataclass(frozen=True)
class Request:
    """What to prepare, as the supervisor writes it to standard input."""

    subjects: list[Subject]
    keys_file: str
    mysql: Account | None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Request":
        values = json.loads(text)
        mysql = values["mysql"]
        return cls(
            subjects=[Subject(**subject) for subject in values["subjects"]],
            keys_file=values["keys_file"],
            mysql=Account(**mysql) if mysql else None,
        )


def prepare(request: Request, environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Check all settings, make keys and databases, migrate; gives each process its variables.

    Raises LocalError with what is wrong in the settings.
    """
    classes = {subject.name: _settings_class(subject) for subject in request.subjects}
    envs = share_out(
        {subject.name: subject.offers for subject in request.subjects},
        callers_variables(environ),
        {name: _known_variables(cls) for name, cls in classes.items()},
    )
    settings = {
        subject.name: _load(classes[subject.name], subject, envs[subject.name])
        for subject in request.subjects
    }
    _ensure_keys(Path(request.keys_file), envs)
    if request.mysql:
        asyncio.run(_create_databases(request.mysql))
    for subject in request.subjects:
        if subject.migrations:
            _migrate(settings[subject.name], ROOT / subject.migrations)
    return envs


def _settings_class(subject: Subject) -> Any:
    module, _, name = subject.settings.partition(":")
    return getattr(importlib.import_module(module), name)


def _known_variables(cls: Any) -> set[str]:
    from im_common.runtime.config import known_variables

    return known_variables(cls)


def _load(cls: Any, subject: Subject, env: Mapping[str, str]) -> Any:
    from im_common.runtime.config import ConfigError, load

    with _environment(env):
        try:
            return load(cls, ROOT / subject.config)
        except ConfigError as error:
            raise LocalError(f"{subject.name}: {error}") from error


@contextlib.contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    # The settings classes read os.environ, so each service's is put there for a moment.
    before = dict(os.environ)
    for name in callers_variables(before):
        del os.environ[name]
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _ensure_keys(default: Path, envs: Mapping[str, Mapping[str, str]]) -> None:
    ensure_key_file = importlib.import_module("im_common.domain.key_file").ensure_key_file
    ensure_key_file(Path(envs["auth"].get("IM_KEYS__FILE", default)))


async def _create_databases(account: Account) -> None:
    import asyncmy

    from im_common.runtime.sections import DbConf
    from im_common.sql.mysql_login import login_arguments

    host, _, port = account.address.rpartition(":")
    login = login_arguments(DbConf.model_validate({"password": account.password, **account.tls}))
    connection = await asyncmy.connect(
        host=host, port=int(port), user=account.user, connect_timeout=10, **login
    )
    try:
        async with connection.cursor() as cursor:
            for name in account.databases:
                await cursor.execute(
                    f"CREATE DATABASE IF NOT EXISTS `{name}` "
                    "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
                )
    finally:
        connection.close()


def _migrate(settings: Any, migrations: Path) -> None:
    from im_common.sql.migrate import upgrade

    upgrade(settings.db, migrations)


def main() -> int:
    """Read a request from standard input, write the variables to standard output, as JSON."""
    request = Request.from_json(sys.stdin.read())
    # A library that prints must not get between.
    answer, sys.stdout = sys.stdout, sys.stderr
    try:
        envs = prepare(request, os.environ)
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1
    answer.write(json.dumps(envs))
    answer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
