"""`scripts/test`: the tests in suites, those that share no server side by side.

Each suite is a pytest of its own, on ports that it finds free and in folders of its own. What it says
is shown whole when it ends. Then come the tests that kill real servers, each lane with its own, and at
the end, alone, those whose limits a busy machine would break.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from im_local import last_will, mysql
from im_local.console import Console
from im_local.errors import LocalError
from im_local.paths import PYTHON, ROOT
from im_local.processes import SERVICES, folders

# More take no less time on two cores, and each test waits longer for its turn.
AT_ONCE = 5
# A test that hangs ends its suite after five minutes (pyproject.toml); this is for all else.
LIMIT_S = 1800.0
# Of pytest: the exit code when it ran no test.
NOTHING_RUN = 5
EMBEDDED, REAL = "embedded", "real"
# Real servers once more, for tests that kill or freeze theirs beside others that do. Their database is
# MySQL itself where that can be had.
APART = "real, apart"
# MySQL itself, where the real servers are MariaDB and others: for what a database alone is for.
MYSQL = "MySQL"
# Of those beside the real servers.
MYSQL_PORT_OFFSET, APART_PORT_OFFSET = 500, 1000
# They kill and freeze the servers under them, which may be others' too. They mostly wait.
FAULTS = ["tests/test_faults.py", "tests/test_cluster_faults.py"]
KILLS = ["tests/test_events.py", "tests/test_gateways.py", "tests/test_kills.py"]
# Of FAULTS these are run with KILLS on the real servers, whose lane ends sooner.
LENT = [f"tests/test_faults.py::test_a_server_killed[{name}]" for name in ("etcd", "ws-gateway")]
# Of the whole system on MySQL itself, before anything is killed there.
TALK = ["tests/test_conversation.py"]
CLIENTS = ["tests/test_js_client.py", "tests/test_python_client.py"]
PAGES = ["tests/test_web_client.py", "tests/test_web_keyboard.py"]
# They count what happens in a time, under a load of their own.
OVERLOAD = ["tests/test_overload.py"]
# With both kinds of servers, each of it on one of them.
OVERLOAD_ON_EMBEDDED = ("-k", "ws-gateway")
OVERLOAD_ON_REAL = ("-k", "not ws-gateway")
LOGINS = ["auth-service/tests/test_login_times.py"]
# Six servers that take one another for dead when none has a turn for a second.
CLUSTERS = ["common/tests/test_redis_cluster.py"]
# With both kinds of servers once is enough, there: what is about pages, clients, the door or what goes
# out of the gateways, or starts servers of its own; and what asks the database for everything, on a
# real one.
ONCE = {
    "tests/test_admin_page.py": EMBEDDED,
    "tests/test_description.py": REAL,
    "tests/test_edge.py": EMBEDDED,
    "tests/test_fan_out.py": EMBEDDED,
    "tests/test_files.py": REAL,
    "tests/test_js_client.py": EMBEDDED,
    "tests/test_large_groups.py": EMBEDDED,
    "tests/test_limits.py": EMBEDDED,
    "tests/test_logs.py": EMBEDDED,
    "tests/test_peer_tls.py": EMBEDDED,
    "tests/test_presence.py": REAL,
    "tests/test_protocol.py": EMBEDDED,
    "tests/test_python_client.py": EMBEDDED,
    "tests/test_traces.py": EMBEDDED,
    "tests/test_typing.py": EMBEDDED,
    "tests/test_web_client.py": EMBEDDED,
    "tests/test_web_keyboard.py": EMBEDDED,
}
OF_DATABASES = ["common/tests/test_db.py", "common/tests/test_outbox_plans.py"]
VARIABLE = "IM_TEST_INFRA"

_COUNT = re.compile(r"(\d+) (passed|failed|skipped|error)")


@dataclass(frozen=True)
class Suite:
    """Paths for one pytest, on the embedded or the real servers or on MySQL."""

    servers: str
    paths: Sequence[str]
    without: Sequence[str] = ()
    options: Sequence[str] = ()

    @property
    def name(self) -> str:
        return f"{' '.join(self.paths)} ({self.servers})"

    def command(self, options: Sequence[str]) -> list[str]:
        ignored = [f"--ignore={path}" for path in self.without]
        return [PYTHON, "-P", "-m", "pytest", *ignored, *self.options, *options, *self.paths]


Lane = list[Suite]


def stages(servers: Sequence[str]) -> list[list[Lane]]:
    """What runs one after the other; of each, the lanes that run side by side, in order: those that
    take long come first, so that none of them is left to run alone.

    On the real servers a suite runs the embedded kinds of database and log too, so with both it is
    not run twice; the tests of the whole system are, for that is another one.
    """
    kinds = [kind for kind in (EMBEDDED, REAL) if kind in servers]
    on = kinds[-1]
    services = [f"{f}/tests" for f in folders([s for s in SERVICES if s.database])]
    faces = [f"{f}/tests" for f in folders(SERVICES) if f"{f}/tests" not in services]
    beside: list[Lane] = [[_suite(kinds, kind, "tests")] for kind in reversed(kinds)]
    # Those of the log freeze it.
    common = [_suite(kinds, APART if on == REAL else on, "common/tests")]
    if MYSQL in servers:
        common.append(Suite(APART, TALK))
    beside.append(common)
    if EMBEDDED in kinds:
        # Their servers are their own.
        beside += _embedded_kills(kinds)
        beside += [[_suite(kinds, EMBEDDED, path)] for path in ("scripts/tests", *faces)]
    beside += [[_suite(kinds, on, path)] for path in services]
    if MYSQL in servers:
        # Only what runs on such a database: the rest runs elsewhere. On MySQL itself is what is apart.
        only = ("-k", "mysql")
        beside += [[Suite(MYSQL, [path], _left_out(path), only)] for path in services]
        beside.append([Suite(REAL, OF_DATABASES, options=only)])
    if len(kinds) == 1:
        alone = [Suite(on, OVERLOAD)]
    else:
        alone = [
            Suite(EMBEDDED, OVERLOAD, options=OVERLOAD_ON_EMBEDDED),
            Suite(REAL, OVERLOAD, options=OVERLOAD_ON_REAL),
        ]
    alone += [Suite(on, paths) for paths in (LOGINS, CLUSTERS)]
    real_kills = _real_kills(kinds) if REAL in kinds else []
    return [lanes for lanes in (beside, real_kills, [alone]) if lanes]


def _suite(kinds: Sequence[str], on: str, path: str) -> Suite:
    return Suite(on, [path], _left_out(path, *_elsewhere(kinds, REAL if on == APART else on)))


def _embedded_kills(kinds: Sequence[str]) -> list[Lane]:
    elsewhere = _elsewhere(kinds, EMBEDDED)
    parts = [
        FAULTS,
        KILLS,
        *([path for path in paths if path not in elsewhere] for paths in (PAGES, CLIENTS)),
    ]
    return [[Suite(EMBEDDED, paths)] for paths in parts if paths]


def _real_kills(kinds: Sequence[str]) -> list[Lane]:
    """No two of these lanes share a server."""
    elsewhere = _elsewhere(kinds, REAL)
    left = [f"--deselect={test}" for test in LENT]
    apart = [Suite(APART, [*KILLS, *LENT])]
    if others := [path for path in (*CLIENTS, *PAGES) if path not in elsewhere]:
        apart.append(Suite(APART, others))
    return [[Suite(REAL, FAULTS, options=left)], apart]


def _elsewhere(kinds: Sequence[str], on: str) -> list[str]:
    return [file for file, kind in ONCE.items() if kind in kinds and kind != on]


def _left_out(path: str, *more: str) -> list[str]:
    """What of a suite has a stage of its own, and of ``more``."""
    files = (*FAULTS, *KILLS, *CLIENTS, *PAGES, *OVERLOAD, *LOGINS, *CLUSTERS, *more)
    return [file for file in files if file.startswith(f"{path}/")]


class Run:
    """One run of suites; `infra` has the files that name the servers, of each kind but the embedded."""

    def __init__(self, options: Sequence[str], infra: Mapping[str, Path], console: Console) -> None:
        self._options = options
        self._infra = infra
        self._console = console
        self.counts: Counter[str] = Counter()
        self.failed: list[str] = []
        self._running: set[subprocess.Popen[bytes]] = set()
        self._interrupted = threading.Event()

    def all(self, lanes: list[Lane]) -> None:
        """Side by side, so many at once."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                list(pool.map(self._lane, lanes))
            except KeyboardInterrupt:
                self._interrupt()
                raise

    def _interrupt(self) -> None:
        self._interrupted.set()
        for process in list(self._running):
            # So that it takes down what it has set up, as with Ctrl-C.
            process.send_signal(signal.SIGINT)

    def _lane(self, suites: Lane) -> None:
        for suite in suites:
            if self._interrupted.is_set():
                return
            self._console.step(f"begins: {suite.name}")
            code, said = self._suite(suite)
            if code == NOTHING_RUN:
                # Not one of its tests was asked for.
                code = 0
            if code != 0:
                self.failed.append(suite.name)
            self._count(code, said)
            outcome = "" if code == 0 else f", exit code {code}"
            self._console.block(f"\n{said.rstrip()}")
            self._console.step(f"ended: {suite.name}{outcome}\n")

    def _suite(self, suite: Suite) -> tuple[int, str]:
        environ = dict(os.environ)
        if self._infra:
            environ.pop(VARIABLE, None)
            if suite.servers in self._infra:
                environ[VARIABLE] = str(self._infra[suite.servers])
        with tempfile.TemporaryFile() as output:
            process = start(suite.command(self._options), environ, output.fileno())
            self._running.add(process)
            code = wait(process)
            self._running.discard(process)
            output.seek(0)
            return code, output.read().decode("utf-8", "replace")

    def _count(self, code: int, said: str) -> None:
        counted = dict[str, int]()
        for line in reversed(said.splitlines()):
            if counted := {word: int(number) for number, word in _COUNT.findall(line)}:
                break
        broken = counted.get("failed", 0) + counted.get("error", 0)
        # One that ended without a word, too.
        self.counts["failed"] += broken or (code != 0)
        for word in ("passed", "skipped"):
            self.counts[word] += counted.get(word, 0)


def start(
    command: Sequence[str], environ: dict[str, str], output: int | None = None
) -> subprocess.Popen[bytes]:
    """A command at the root of the checkout; its output goes to ours, or to the descriptor."""
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
    )


def wait(process: subprocess.Popen[bytes]) -> int:
    """The exit code. The process ends with us, and is ended when it takes too long."""
    has_ended = last_will.ends_with_us(process.pid)
    try:
        return process.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        # It says where each thread is, and ends.
        process.send_signal(signal.SIGABRT)
        return process.wait()
    finally:
        has_ended()


@contextlib.contextmanager
def real_servers(*options: str) -> Iterator[Path]:
    """The file that names them, for as long as the block lasts; gone then, also with us. The options
    are those of `scripts/infra up`."""
    infra = str(ROOT / "scripts/infra")
    with tempfile.TemporaryDirectory() as data:
        down = [infra, "down", "--data", data]
        revoke = last_will.run_at_our_end(down)
        try:
            subprocess.run([infra, "up", "--data", data, *options], check=True)
            yield Path(data) / "infra.yaml"
        finally:
            subprocess.run(down, check=False)
            revoke()


def has_mysql(console: Console) -> bool:
    """Fetches it if need be; says so when it cannot be had."""
    with tempfile.NamedTemporaryFile() as log:
        try:
            mysql.fetch(log=Path(log.name), console=console)
        except LocalError as error:
            console.block(f"NOTHING RUNS ON MYSQL ITSELF: {error}")
            return False
    return True


def main(arguments: Sequence[str]) -> int:
    """`[--infra | --all] [--with VARIANT]… [pytest's arguments]`; with a path among them, one pytest
    for it. The variants are those of `scripts/infra up`."""
    servers, options = [EMBEDDED], list(arguments)
    variants: list[str] = []
    if options[:1] == ["--infra"]:
        servers, options = [REAL], options[1:]
    elif options[:1] == ["--all"]:
        servers, options = [EMBEDDED, REAL], options[1:]
    while servers != [EMBEDDED] and options[:1] == ["--with"]:
        variants, options = [*variants, *options[:2]], options[2:]
    has_path = any((ROOT / word.partition("::")[0]).exists() for word in options if word)
    with contextlib.ExitStack() as stack:
        infra: dict[str, Path] = {}
        if REAL in servers:
            infra[REAL] = stack.enter_context(real_servers(*variants))
        if has_path:
            given = {VARIABLE: str(infra[REAL])} if infra else {}
            return wait(start([PYTHON, "-P", "-m", "pytest", *options], {**os.environ, **given}))
        console = Console()
        if REAL in servers:
            itself = ("--with", "mysql") if has_mysql(console) else ()
            at = ("--port-offset", str(APART_PORT_OFFSET))
            of_database = {"galera", "tls", "mysql"} & {*variants}
            apart = variants if of_database else [*variants, *itself]
            infra[APART] = stack.enter_context(real_servers(*apart, *at))
            if itself:
                at = ("--port-offset", str(MYSQL_PORT_OFFSET))
                infra[MYSQL] = stack.enter_context(real_servers("--only", "mysql", *itself, *at))
        running = Run(options, infra, console)
        for lanes in stages([*servers, *infra]):
            running.all(lanes)
    for name in running.failed:
        print(f"FAILED {name}")
    counts = running.counts
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    if running.failed:
        return 1
    return 0 if counts["passed"] else NOTHING_RUN


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
