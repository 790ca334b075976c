"""`python -m im_local up | down | infra up | infra down`; the scripts of these names call it."""

import argparse
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from im_local.console import Console
from im_local.errors import LocalError
from im_local.paths import DEFAULT_DATA, PYTHON, DataDir


def main() -> int:
    """Run the command; what cannot go on is said in one message and an exit code."""
    options = _parser().parse_args()
    # So that a plain kill unwinds like Ctrl-C does and leaves nothing behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(options)
    except LocalError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    data = DataDir.at(options.data)
    match options.command:
        case "up" if options.detach:
            return _detach(data, options)
        case "up":
            return _up(data, options)
        case "down":
            from im_local.background import down

            return down(data, Console())
        case "infra up":
            from im_local import infra

            chosen = infra.Options(options.port_offset, options.only, options.variants)
            infra.up(data, chosen, Console())
        case "infra down":
            from im_local import infra

            infra.down(data, console=Console())
    return 0


def _up(data: DataDir, options: argparse.Namespace) -> int:
    from im_local.keeper import PAUSES_S
    from im_local.launch import backend
    from im_local.processes import parse_scale
    from im_local.up import Launch, run

    listener = os.fdopen(options.tell, "w", encoding="utf-8") if options.tell else None
    console = Console(listener=listener)
    infra = options.infra.absolute() if options.infra else None
    offset = options.port_offset
    try:
        scale = parse_scale(options.scale)
        pauses_s = tuple(min(pause, options.longest_pause) for pause in PAUSES_S)

        def launch() -> Launch:
            found = backend(data, port_offset=offset, infra_file=infra, scale=scale)
            return replace(found, pauses_s=pauses_s)

        return run(data, launch, console)
    except LocalError as error:
        console.block(f"error: {error}")
        return error.exit_code


def _detach(data: DataDir, options: argparse.Namespace) -> int:
    from im_local.background import detach

    command = [PYTHON, "-P", "-m", "im_local", "up"]
    command += ["--data", str(data.path), "--port-offset", str(options.port_offset)]
    command += ["--longest-pause", str(options.longest_pause)]
    if options.infra:
        command += ["--infra", str(options.infra.absolute())]
    for text in options.scale:
        command += ["--scale", text]
    return detach(data, command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_up(commands.add_parser("up", prog="scripts/up", help="run the whole backend"))
    down = commands.add_parser("down", prog="scripts/down", help="end what runs on DIR")
    down.set_defaults(command="down")
    infra = commands.add_parser("infra", prog="scripts/infra", help="real servers for tests")
    actions = infra.add_subparsers(required=True, metavar="up|down")
    infra_up = actions.add_parser("up", help="start what does not run; writes DIR/infra.yaml")
    infra_up.set_defaults(command="infra up")
    infra_up.add_argument("--port-offset", type=int, metavar="N", help="added to every port")
    infra_up.add_argument(
        "--only",
        action="append",
        choices=("mysql", "redis", "etcd", "kafka"),
        help="start this alone; may be given for several",
    )
    infra_up.add_argument(
        "--with",
        dest="variants",
        action="append",
        choices=(
            *("mysql", "galera", "kafka-cluster", "etcd-cluster"),
            *("redis-cluster", "redis-sentinel", "s3", "tls"),
        ),
        help="mysql: MySQL itself instead of MariaDB; s3: a bucket for files, too; the others: several "
        "instead of one, with passwords and TLS; tls: that for all, and between the services",
    )
    infra_down = actions.add_parser("down", help="end all of it; the data stays")
    infra_down.set_defaults(command="infra down")
    for command in (down, infra_up, infra_down):
        _add_data(command)
    return parser


def _add_up(up: argparse.ArgumentParser) -> None:
    up.set_defaults(command="up")
    _add_data(up)
    up.add_argument("--port-offset", type=int, default=0, metavar="N", help="added to every port")
    up.add_argument("--detach", action="store_true", help="return when ready; scripts/down ends it")
    up.add_argument(
        "--infra",
        type=Path,
        metavar="FILE",
        help="YAML that names mysql, kafka, redis and etcd to use instead of the embedded ones",
    )
    up.add_argument(
        "--scale",
        action="append",
        default=[],
        metavar="NAME=N",
        help="so many instances of a service; may be given for several",
    )
    up.add_argument(
        "--longest-pause",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="before a process that keeps ending is started again (default: %(default)g)",
    )
    up.add_argument("--tell", type=int, help=argparse.SUPPRESS)


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data",
        type=Path,
        default=DEFAULT_DATA,
        metavar="DIR",
        help="where the data, the logs and the secrets are (default: %(default)s)",
    )


if __name__ == "__main__":
    sys.exit(main())
