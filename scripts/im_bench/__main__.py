"""`scripts/bench` and what is measured:
`messages | mixed | hops | group | overload | friends | history | logins | me | http | files | idle |
reconnect | slow | guard | stored | scale | bare`"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from im_bench import (
    beside,
    files,
    friends,
    group,
    guard,
    history,
    hops,
    idle,
    logins,
    machine,
    me,
    messages,
    mixed,
    overload,
    plot,
    reconnect,
    routes,
    scale,
    slow,
    stored,
)
from im_bench.bare import scenario as bare
from im_bench.options import whole
from im_bench.report import Failed, Row, figures, print_table, write_json
from im_bench.runs import measured
from im_bench.target import own_servers, target
from im_bench.turns import Ratios

# A load on one system, which is there for it.
BENCHMARKS = {
    "messages": messages,
    "group": group,
    "guard": guard,
    "overload": overload,
    "friends": friends,
    "history": history,
    "hops": hops,
    "mixed": mixed,
    "logins": logins,
    "me": me,
    "http": routes,
    "files": files,
    "idle": idle,
    "reconnect": reconnect,
    "slow": slow,
}
# Loads on systems of their own, in turns.
COMPARISONS = {"stored": stored, "scale": scale, "bare": bare}
# Cheap hashes make a hundred accounts in no time; only `logins` measures them. A token lasts as
# long as any run.
SETTINGS = {
    "IM_RATE_LIMITS": "off",
    "IM_ACCESS_TOKEN_LIFE": "86400",
    "IM_MAX_MEMBERS": "100000",
    # All clients come from one.
    "IM_WEB_SOCKET__MAX_CONNECTIONS_PER_ADDRESS": "0",
}
CHEAP_HASHES = {"IM_BCRYPT_COST": "4"}
_SubParsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    described = machine.describe()
    ratios: Ratios = {}
    try:
        if options.plot:
            plot.check(options.plot)
        if options.what in COMPARISONS:
            rows, ratios = COMPARISONS[options.what].compare(options, _settings(options.what))
        elif options.beside:
            rows, ratios = _compare(options, argv)
        else:
            rows = _measure(options)
    except (TimeoutError, Failed, OSError, RuntimeError) as error:
        print(f"bench: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    command = ("command", "scripts/bench " + " ".join(argv))
    head = [command, *described, ("load average", _load())]
    print_table([*head, *rows])
    if options.json is not None:
        write_json(options.json, head, rows, ratios)
    if options.plot is not None:
        title = "scripts/bench " + " ".join(_words(argv, _add_output))
        if ratios:
            plot.ratios(options.plot, title, ratios)
        else:
            plot.latencies(options.plot, title, figures(rows))
    return 0


def _measure(options: argparse.Namespace) -> list[Row]:
    benchmark = BENCHMARKS[options.what]
    if options.real and (options.ready or options.infra):
        raise Failed("--real starts servers of its own: no --ready or --infra")
    with ExitStack() as stack:
        if options.real:
            options.infra = stack.enter_context(own_servers())
        ready = stack.enter_context(
            target(
                data=options.data,
                ready=options.ready,
                infra=options.infra,
                env=_settings(options.what),
                scale={"ws-gateway": options.gateways, "chat-mq": options.consumers},
            )
        )
        return measured(benchmark.run(options, ready), benchmark.longest_s(options))


def _compare(options: argparse.Namespace, argv: Sequence[str]) -> tuple[list[Row], Ratios]:
    if options.data or options.ready or options.infra or options.gateways + options.consumers > 2:
        message = "no --data, --ready, --infra, --gateways or --consumers"
        raise Failed(f"--beside starts its own systems: {message}")
    scenario = _words(argv, _add_output, beside.add_options)
    env = _settings(options.what)
    return beside.compare(scenario, options.beside, options.turns, env=env, real=options.real)


def _words(argv: Sequence[str], *without: Callable[[argparse.ArgumentParser], object]) -> list[str]:
    """The command line without these options."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for add_options in without:
        add_options(known)
    return known.parse_known_args(argv)[1]


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, help="write the table and its figures there, too")
    parser.add_argument("--plot", type=Path, help="draw the latencies, or the ratios, there (SVG)")


def _settings(what: str) -> dict[str, str]:
    more = {} if what == "logins" else CHEAP_HASHES
    return {**SETTINGS, **more, **(hops.settings() if what == "hops" else {})}


def _load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg()) + " (1, 5, 15 minutes)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    subparsers = parser.add_subparsers(dest="what", required=True)
    for name, module in BENCHMARKS.items():
        sub = _add(subparsers, name, module)
        where = sub.add_mutually_exclusive_group()
        where.add_argument("--data", type=Path, help="keep the data in this folder")
        where.add_argument("--ready", type=Path, help="ready.json of a system that runs already")
        sub.add_argument("--infra", type=Path, help="servers to use, as of scripts/infra")
        sub.add_argument("--gateways", type=whole(), default=1, help="WebSocket gateways to start")
        sub.add_argument(
            "--consumers", type=whole(), default=1, help="instances of chat-mq to start"
        )
        beside.add_options(sub)
    for name, module in COMPARISONS.items():
        sub = _add(subparsers, name, module)
        sub.add_argument("--turns", type=whole(), default=3, help="runs of each")
        sub.add_argument(
            "--real", action="store_true", help="on MariaDB, Kafka, Redis and etcd, new ones"
        )
    return parser


def _add(subparsers: _SubParsers, name: str, module: ModuleType) -> argparse.ArgumentParser:
    # argparse takes a per cent sign in a help, not in a description, for a place to fill in.
    sub = subparsers.add_parser(
        name,
        help=(module.__doc__ or "").replace("%", "%%"),
        description=module.__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_output(sub)
    module.add_options(sub)
    return sub


if __name__ == "__main__":
    # So that a plain kill unwinds like Ctrl-C does, and leaves no servers behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
