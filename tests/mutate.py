"""Mutation runs, by hand: breaks one place of the code after the other, and tells what no test notices.

With two packages more than the tests need, in an environment that has this project's:

    .venv/bin/uv pip install cosmic-ray coverage
    .venv/bin/python -P tests/mutate.py learn logic|mq|bus|gateway    which tests run which line
    .venv/bin/python -P tests/mutate.py run logic|mq|bus|gateway --sample 60 --seed 1
    .venv/bin/python -P tests/mutate.py again logic|mq|bus|gateway    those that survived

Breaks are those of cosmic-ray that change what is decided, and statements left out, within functions.
A place is drawn first, then one of its breaks: what can be broken in ten ways counts once. A mutant is
shown to the tests that run its line, the quick ones first, until one fails or hangs (and before them
to those that were written after `learn`); that test is then
run without the mutant, since on a busy machine it may have failed by itself. No file is changed: each
mutant has a process of its own, in which the function has other code. What becomes of each is in
.data/mutants/PART.jsonl, and a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import importlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, NoReturn

import pytest
from _pytest.main import pytest_runtestloop
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.provider import OperatorProvider
from parso.python.tree import Keyword

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / ".data/mutants"
# Of the tests that run a line, so many seconds as they took when they were learnt.
MOST_TESTS_S = 60.0
# A test hangs after so long and eight times what it took when it was learnt.
SLOWEST_S = 40.0
_CONTEXTS = "IM_MUTATE_CONTEXTS"
_DURATION = re.compile(r"^ *([0-9.]+)s (?:call|setup|teardown) +(\S.*)$")


@dataclass(frozen=True)
class Part:
    folder: str
    tests: Sequence[str]
    without: Sequence[str] = ()


_CHAT = ["chat-service/tests"]
PARTS = {
    "logic": Part("chat-service/chat_service/logic", _CHAT),
    "mq": Part(
        "chat-service/chat_service/mq",
        _CHAT,
        without=["__main__.py", "config.py"],
    ),
    "bus": Part(
        "common/im_common/bus",
        ["common/tests/bus", "common/tests/test_batching.py"],
        # Kafka's side needs the real servers.
        without=["interface.py", "kafka"],
    ),
    "gateway": Part("ws-gateway/ws_gateway/logic", ["ws-gateway/tests"]),
}


# --- mutants -------------------------------------------------------------------------------------


class RemoveStatement:
    """As cosmic-ray's: a call, a refusal, a way out, or what is set in an object, left out."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "simple_stmt" and self._counts(node.children[0]):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        first = node.get_first_leaf()
        node.children[0] = Keyword("pass", first.start_pos, prefix=first.prefix)
        return node

    @staticmethod
    def _counts(node: Any) -> bool:
        text = node.get_code().strip()
        if node.type in ("return_stmt", "raise_stmt", "del_stmt", "keyword") or text == "return":
            return text not in ("pass", "...")
        if node.type == "expr_stmt":
            # A name that is not set fails at once wherever it is used.
            target, sign = node.children[:2]
            return bool(target.type != "name" or (sign.type == "operator" and sign.value != "="))
        return node.type in ("atom_expr", "await")


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    column: int
    operator: str
    occurrence: int

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line}:{self.column} {self.operator} {self.occurrence}"


def operators() -> dict[str, Any]:
    """Those of cosmic-ray that change what is decided."""
    core = OperatorProvider()
    left_out = ("RemoveDecorator", "VariableReplacer", "VariableInserter")
    found = {name: core[name]() for name in core if name not in left_out}
    return {**found, "RemoveStatement": RemoveStatement()}


def mutants(part: Part) -> list[Mutant]:
    folder = ROOT / part.folder
    found: list[Mutant] = []
    for path in sorted(folder.rglob("*.py")):
        if not any(name in path.relative_to(folder).parts for name in part.without):
            found += _of_file(path)
    return found


def _of_file(path: Path) -> Iterator[Mutant]:
    source = path.read_text("utf-8")
    left_out = list(_left_out(ast.parse(source)))
    nodes = list(ast_nodes(get_ast(source)))
    inside = _lines_of_functions(ast.parse(source))
    for name, operator in operators().items():
        places = (place for node in nodes for place in operator.mutation_positions(node))
        for occurrence, (start, _) in enumerate(places):
            if start[0] in inside and not any(first <= start < last for first, last in left_out):
                file = str(path.relative_to(ROOT))
                yield Mutant(file, start[0], start[1], name, occurrence)


def _lines_of_functions(tree: ast.Module) -> set[int]:
    """Where code is that is put in the place of other code while the tests run."""
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return {n for of in functions for n in range(of.lineno, (of.end_lineno or of.lineno) + 1)}


def _left_out(tree: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """What decides nothing: types, what is logged, what is for the type checker. And what is done when
    a function is made: decorators, the values that arguments have when they are not given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            yield _span(node.annotation)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            yield _span(node.returns)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from (_span(decorator) for decorator in node.decorator_list)
        if isinstance(node, ast.arguments):
            yield from (_span(value) for value in (*node.defaults, *node.kw_defaults) if value)
        if isinstance(node, ast.Expr) and ast.unparse(node).startswith(("log.", "report(")):
            yield _span(node)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield _span(node)
        if isinstance(node, ast.Assert):
            yield _span(node)


def _span(node: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def sample(found: Sequence[Mutant], size: int, seed: int) -> list[Mutant]:
    """Places first, then one break of each."""
    by_place: dict[tuple[str, int, int, bool], list[Mutant]] = defaultdict(list)
    for one in found:
        by_place[one.file, one.line, one.column, one.operator == "RemoveStatement"].append(one)
    chance = random.Random(seed)
    chosen = chance.sample(sorted(by_place), min(size, len(by_place)))
    return [chance.choice(by_place[place]) for place in chosen]


# --- which tests run which line ------------------------------------------------------------------


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """With `-p mutate`, under coverage: what runs from now on is this test's."""
    if os.environ.get(_CONTEXTS):
        import coverage

        running = coverage.Coverage.current()
        assert running is not None
        running.switch_context(item.nodeid)
    yield


def learn(name: str) -> None:
    import coverage

    part = PARTS[name]
    DATA.mkdir(parents=True, exist_ok=True)
    file = DATA / f"{name}.coverage"
    settings = DATA / f"{name}.rc"
    settings.write_text(
        f"[run]\ndata_file = {file}\nsource = {ROOT / part.folder}\nconcurrency = greenlet,thread\n"
    )
    said = DATA / f"{name}.learn.txt"
    command = [
        sys.executable,
        "-P",
        "-m",
        "coverage",
        "run",
        f"--rcfile={settings}",
        "-m",
        "pytest",
    ]
    options = ["-p", "mutate", "--durations=0", "--durations-min=0", "-vv", *part.tests]
    environ = {**os.environ, _CONTEXTS: "1", "PYTHONPATH": str(ROOT / "tests")}
    with said.open("w") as output:
        subprocess.run([*command, *options], cwd=ROOT, env=environ, stdout=output, check=False)
    seconds: dict[str, float] = defaultdict(float)
    for line in said.read_text("utf-8").splitlines():
        if found := _DURATION.match(line):
            seconds[found[2]] += float(found[1])
    data = coverage.CoverageData(str(file))
    data.read()
    lines = {
        str(Path(path).relative_to(ROOT)): {
            str(line): sorted(filter(None, tests))
            for line, tests in data.contexts_by_lineno(path).items()
        }
        for path in data.measured_files()
    }
    (DATA / f"{name}.json").write_text(json.dumps({"seconds": seconds, "lines": lines}))
    print(f"{len(seconds)} tests, {sum(seconds.values()):.0f} s; {said}")


def nearest(known: Mapping[str, Any], mutant: Mutant) -> list[str]:
    """The tests that run its line, quick ones first; those of its file, when it runs at import."""
    lines = known["lines"].get(mutant.file, {})
    tests = set(lines.get(str(mutant.line), ()))
    if not tests:
        tests = {test for of_line in lines.values() for test in of_line}
    chosen: list[str] = []
    room = MOST_TESTS_S
    for test in sorted(tests, key=lambda t: (known["seconds"].get(t, 1.0), t)):
        room -= known["seconds"].get(test, 1.0)
        if room < 0:
            break
        chosen.append(test)
    # Fixtures of a module are made once.
    files = list(dict.fromkeys(test.partition("::")[0] for test in chosen))
    return sorted(chosen, key=lambda test: files.index(test.partition("::")[0]))


# --- running -------------------------------------------------------------------------------------


class Runner:
    """A plugin of pytest: with all tests collected, a process for each mutant, which has its code in
    the place of the function's, and runs its tests."""

    def __init__(self, known: Mapping[str, Any], chosen: Sequence[Mutant], results: Path) -> None:
        self._known = known
        self._chosen = chosen
        self._results = results
        self._said: int | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        new = [item for item in session.items if self._is_new(item)]
        for mutant in self._chosen:
            nearest_to_it = nearest(self._known, mutant)
            chosen = [
                item
                for test in nearest_to_it
                for name, item in items.items()
                if name == test or name.startswith(f"{test}::")
            ]
            _note(self._results, self._try(mutant, session, [*new, *chosen]))
        return True

    def _is_new(self, item: pytest.Item) -> bool:
        """Whether nothing was learnt of it; but for those that only the real servers run."""
        known = self._known["seconds"]
        names = {item.nodeid, item.nodeid.partition("::")[0]}
        return not item.get_closest_marker("infra") and known.keys().isdisjoint(names)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._say("started", nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One that fails is enough."""
        if report.failed and self._said is not None:
            self._say("failed", report.nodeid)
            os._exit(1)

    def _say(self, what: str, nodeid: str) -> None:
        if self._said is not None:
            os.write(self._said, f"{what} {nodeid}\n".encode())

    def _try(self, mutant: Mutant, session: pytest.Session, items: Sequence[Any]) -> dict[str, Any]:
        source = (ROOT / mutant.file).read_text("utf-8")
        mutated = mutate_code(source, operators()[mutant.operator], mutant.occurrence)
        begin = time.monotonic()
        outcome, killer = "no mutant", ""
        if mutated is not None and (function := _Function.at(mutant, source, mutated)):
            outcome, killer = self._outcome(function, session, items)
        diff = difflib.unified_diff(source.splitlines(), (mutated or "").splitlines(), n=2)
        return {
            "name": mutant.name,
            "outcome": outcome,
            "killer": killer,
            "seconds": round(time.monotonic() - begin, 1),
            "tests": len(items),
            "diff": "\n".join(line.rstrip() for line in list(diff)[2:]),
            **{
                of: getattr(mutant, of)
                for of in ("file", "line", "column", "operator", "occurrence")
            },
        }

    def _outcome(
        self, function: _Function, session: pytest.Session, items: Sequence[Any]
    ) -> tuple[str, str]:
        """A test that fails without the mutant, too, is left out, and the others are shown it again."""
        left = list(items)
        while left:
            ended, killer = self._run(function, session, left)
            if ended == "passed":
                return "survived", ""
            again = [item for item in left if item.nodeid == killer]
            if not again or self._run(None, session, again)[0] == "passed":
                return "killed", f"{killer} {ended}"
            left.remove(again[0])
        return (
            "survived",
            "by tests that fail without it, too" if items else "no test runs its line",
        )

    def _run(
        self, function: _Function | None, session: pytest.Session, items: Sequence[Any]
    ) -> tuple[str, str]:
        """How tests end in a process of their own, and which was the last: passed, failed, hangs, or
        the code of a process that ended by itself."""
        heard, said = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._said = said
            self._test(function, session, items)
        os.close(said)
        os.set_blocking(heard, False)
        try:
            return self._watch(pid, heard)
        finally:
            os.close(heard)

    def _watch(self, pid: int, heard: int) -> tuple[str, str]:
        begin, test, failed, text = time.monotonic(), "", False, b""
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            with contextlib.suppress(BlockingIOError):
                text += os.read(heard, 1 << 20)
            *lines, text = text.split(b"\n")
            for line in lines:
                what, _, test = line.decode().partition(" ")
                begin, failed = time.monotonic(), what == "failed"
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return "passed" if code == 0 else "failed" if failed else f"ended by {code}", test
            if time.monotonic() > begin + SLOWEST_S + 8 * self._seconds(test):
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return "hangs", test
            time.sleep(0.02)

    def _seconds(self, test: str) -> float:
        return float(self._known["seconds"].get(test, 5.0))

    def _test(
        self, function: _Function | None, session: pytest.Session, items: Sequence[Any]
    ) -> NoReturn:
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        code = 3
        try:
            if function is not None:
                function.put()
            session.items = list(items)
            pytest_runtestloop(session)
            code = 1 if session.testsfailed else 0
        finally:
            os._exit(code)


@dataclass(frozen=True)
class _Function:
    """A function with a mutant, or a method of a class, with all that is inside it."""

    module: str
    path: Sequence[str]
    code: CodeType

    @classmethod
    def at(cls, mutant: Mutant, source: str, mutated: str) -> _Function | None:
        """None for what is in no function, and for what is no Python."""
        path = _path_to(ast.parse(source), mutant.line)
        try:
            code = compile(mutated, mutant.file, "exec")
        except SyntaxError:
            return None
        for name in path:
            found = [c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name]
            if not found:
                return None
            code = found[-1]
        module = mutant.file.partition("/")[2].removesuffix(".py").replace("/", ".")
        return cls(module.removesuffix(".__init__"), path, code) if path else None

    def put(self) -> None:
        found: Any = importlib.import_module(self.module)
        for name in self.path:
            # In a class it may be a property or belong to the class.
            found = found.__dict__[name]
        while not hasattr(found, "__code__"):
            found = getattr(found, "fget", None) or getattr(found, "__func__", None)
        while hasattr(found, "__wrapped__"):
            found = found.__wrapped__
        found.__code__ = self.code


def _path_to(tree: ast.Module, line: int) -> list[str]:
    """The names of the classes and the function that a line is in."""
    path: list[str] = []
    body: Sequence[ast.stmt] = tree.body
    while True:
        for node in body:
            first, last = node.lineno, node.end_lineno or node.lineno
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
                first <= line <= last
            ):
                path.append(node.name)
                if not isinstance(node, ast.ClassDef):
                    return path
                body = node.body
                break
        else:
            return []


def run(name: str, size: int, seed: int, *, again: bool) -> None:
    """A sample; or ``again`` those that survived: they are noted once more."""
    part, known = PARTS[name], json.loads((DATA / f"{name}.json").read_text("utf-8"))
    results = DATA / f"{name}.jsonl"
    last = {one["name"]: one for one in _read(results)}
    if again:
        keys = ("file", "line", "column", "operator", "occurrence")
        survived = [one for one in last.values() if one["outcome"] == "survived"]
        chosen = [Mutant(**{of: one[of] for of in keys}) for one in survived]
    else:
        found = mutants(part)
        chosen = sample(found, size, seed)
        print(f"{name}: {len(chosen)} of {len(found)} mutants", flush=True)
        chosen = [mutant for mutant in chosen if mutant.name not in last]
    os.chdir(ROOT)
    pytest.main(["-s", "--tb=no", *part.tests], plugins=[Runner(known, chosen, results)])


def _read(results: Path) -> list[dict[str, Any]]:
    lines = results.read_text("utf-8").splitlines() if results.exists() else []
    return [json.loads(line) for line in lines]


def _note(results: Path, one: Mapping[str, Any]) -> None:
    with results.open("a", encoding="utf-8") as output:
        output.write(json.dumps(one) + "\n")
    print(
        f"{one['outcome']:9} {one['seconds']:6} s  {one['name']}  {one['killer'][-90:]}", flush=True
    )


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("count", "learn", "run", "again"))
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--sample", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(None if arguments is None else list(arguments))
    if options.what == "learn":
        learn(options.part)
    elif options.what in ("run", "again"):
        run(options.part, options.sample, options.seed, again=options.what == "again")
    else:
        found = mutants(PARTS[options.part])
        places = sample(found, len(found), options.seed)
        print(f"{len(found)} mutants at {len(places)} places")


if __name__ == "__main__":
    main()
