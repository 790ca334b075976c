"""The command line of every process: serve, migrate, version, config validate, config show."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from im_common import __version__
from im_common.runtime import grpc_core
from im_common.runtime.config import ConfigError, Settings, load, show


def _no_arguments(_parser: argparse.ArgumentParser) -> None: ...


@dataclass(frozen=True)
class Command:
    """A command that only one service has."""

    help: str
    # Gets the settings and the parsed arguments; returns the exit code.
    run: Callable[[Any, argparse.Namespace], int]
    # Adds the arguments that the command takes besides -f.
    configure: Callable[[argparse.ArgumentParser], None] = _no_arguments


@dataclass(frozen=True)
class Program:
    """What a service tells the command line about itself."""

    # `user-service`
    name: str
    settings: type[Settings]
    # Where the YAML is when -f is not given.
    default_config: Path
    # Runs the service; returns the exit code. Imports what it needs itself, so that the other
    # commands start quickly.
    serve: Callable[[Any], int]
    # Alembic scripts; None for a service without a database.
    migrations: Path | None = None
    # Commands of this service alone, by name.
    extra: dict[str, Command] = field(default_factory=dict)


def main(program: Program, arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Exit code 2 says that the settings or the arguments cannot be used."""
    if os.getpid() == 1:
        # In a container the system ends process 1 by no signal that it does not handle. Until the
        # service does (`process.run`), and for the other commands:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = _parser(program).parse_args(arguments)
    if options.command == "version":
        print(f"{program.name} {__version__}")  # noqa: T201
        return 0
    try:
        settings = load(program.settings, options.file)
    except ConfigError as error:
        print(f"{program.name}: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return _run(program, options, settings)


def _run(program: Program, options: argparse.Namespace, settings: Settings) -> int:
    if options.command == "serve":
        grpc_core.tell()
        return program.serve(settings)
    if options.command == "migrate" and program.migrations is not None:
        from im_common.sql.migrate import upgrade

        upgrade(settings.db, program.migrations)  # type: ignore[attr-defined]
        return 0
    if options.command == "config":
        text = show(settings) if options.what == "show" else f"{options.file}: ok"
        print(text.rstrip())  # noqa: T201
        return 0
    return program.extra[options.command].run(settings, options)


def _parser(program: Program) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program.name)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, description: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=description, description=description)
        command.add_argument(
            "-f",
            "--file",
            type=Path,
            default=program.default_config,
            metavar="YAML",
            help="the settings (default: %(default)s)",
        )
        return command

    add("serve", "run the service until SIGTERM or Ctrl-C")
    if program.migrations is not None:
        add("migrate", "bring the database to the newest version")
    commands.add_parser("version", help="print the version")
    config = add("config", "check or print the settings in force")
    config.add_argument("what", choices=("validate", "show"))
    for name, own in program.extra.items():
        own.configure(add(name, own.help))
    return parser
