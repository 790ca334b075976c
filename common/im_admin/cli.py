"""The command line: arguments in, a table or JSON out."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from redis.exceptions import RedisError

from im_admin.commands import ALL, Command
from im_admin.config import DEFAULT_FILE, AdminSettings, read_settings
from im_admin.operator import open_operator, own_name
from im_admin.plain import Answer
from im_admin.shown import as_json, as_text
from im_common import __version__
from im_common.bus import BusUnavailable
from im_common.errors import AppError, Code
from im_common.runtime import grpc_core
from im_common.runtime import log as logs
from im_common.runtime.config import ConfigError
from im_common.runtime.sections import LogConf

DONE, REFUSED, UNUSABLE, AWAY = 0, 1, 2, 3
_CODES = """\
exit codes:
  0  done
  1  refused: there is no such thing, or it may not be done
  2  the arguments or the settings cannot be used
  3  a part of the system is away; the same command can be repeated

`im-admin GROUP COMMAND --help` shows examples."""


class _BadArguments(Exception):
    """What is wrong with them, and how it is written."""


class _Parser(argparse.ArgumentParser):
    """Leaves it to the caller to tell what is wrong: who asks for JSON gets that in JSON, too."""

    def error(self, message: str) -> NoReturn:
        raise _BadArguments(f"{message}\n{self.format_usage()}".rstrip())


def main(arguments: Sequence[str]) -> int:
    """Runs one command; gives the exit code."""
    grpc_core.tell()
    try:
        options = _parser().parse_args(arguments)
    except _BadArguments as error:
        as_typed = argparse.Namespace(json="--json" in arguments)
        return _fail(as_typed, UNUSABLE, "INVALID_ARGUMENT", str(error))
    command: Command = options.chosen
    try:
        settings = read_settings(options.file, options.data)
    except ConfigError as error:
        return _fail(options, UNUSABLE, "INVALID_ARGUMENT", str(error))
    logs.configure(settings.name, LogConf(level="error", encoding="plain"))
    if command.asks and not options.yes and not _agrees(command):
        return _fail(options, UNUSABLE, "INVALID_ARGUMENT", "--yes: nothing was done without it")
    try:
        answer = asyncio.run(_run(command, settings, options))
    except AppError as error:
        if error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
            return _away(options, error.code.value, error.message)
        return _fail(options, REFUSED, error.code.value, error.message)
    except (BusUnavailable, RedisError, OSError) as error:
        return _away(options, Code.UNAVAILABLE.value, str(error))
    _say(as_json(answer) if options.json else as_text(answer))
    return DONE


async def _run(command: Command, settings: AdminSettings, options: argparse.Namespace) -> Answer:
    async with open_operator(settings, options.who or own_name()) as operator:
        return await command.run(operator, options)


def _agrees(command: Command) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(f"{command.asks} Type yes to go on: ").strip() == "yes"


def _away(options: argparse.Namespace, code: str, message: str) -> int:
    # scripts/up writes it when all is ready, and removes it at its end.
    if options.data and not (options.data / "ready.json").exists():
        start = f"`scripts/up --data {options.data}` starts it"
        message = f"{message}; nothing is ready on {options.data}: {start}"
    return _fail(options, AWAY, code, message)


def _fail(options: argparse.Namespace, exit_code: int, code: str, message: str) -> int:
    text = json.dumps({"error": {"code": code, "message": message}}) if options.json else message
    print(text if options.json else f"im-admin: {text}", file=sys.stderr)  # noqa: T201
    return exit_code


def _say(text: str) -> None:
    try:
        print(text, flush=True)  # noqa: T201
    except BrokenPipeError:
        # Who reads has seen enough (`| head`); Python would say so at its end once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> _Parser:
    parser = _Parser(
        prog="im-admin",
        description="One tool for a whole system: what there is, and what to do about it.",
        epilog=_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"im-admin {__version__}")
    _add_common(parser, is_inner=False)
    groups = parser.add_subparsers(required=True, metavar="GROUP")
    for group in ALL:
        of_group = groups.add_parser(group.name, help=group.help, description=group.help)
        commands = of_group.add_subparsers(required=True, metavar="COMMAND")
        for command in group.commands:
            _add(commands, command)
    return parser


def _add(commands: argparse._SubParsersAction[_Parser], command: Command) -> None:
    parser = commands.add_parser(
        command.words.rpartition(" ")[2],
        help=command.help,
        description=f"{command.help[0].upper()}{command.help[1:]}.",
        epilog=command.more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.configure(parser)
    if command.asks:
        parser.add_argument("--yes", action="store_true", help="do not ask")
    _add_common(parser, is_inner=True)
    parser.set_defaults(chosen=command)


def _add_common(parser: argparse.ArgumentParser, *, is_inner: bool) -> None:
    """What may stand before the words and behind them; the inner parser says nothing of what it was not
    given."""

    def default(value: object) -> object:
        return argparse.SUPPRESS if is_inner else value

    parser.add_argument(
        "--json", action="store_true", default=default(False), help="print JSON; errors, too"
    )
    parser.add_argument(
        "--as",
        dest="who",
        metavar="NAME",
        default=default(""),
        help="who does it, for the audit log (default: who is logged in)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        default=default(None),
        help="the data folder of scripts/up, whose system it is",
    )
    parser.add_argument(
        "-f",
        "--file",
        type=Path,
        metavar="YAML",
        default=default(DEFAULT_FILE),
        help="settings, as the services have them; variables (IM_…) go before",
    )
