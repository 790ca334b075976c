"""docs/configuration.md, made of the classes of settings: their fields, defaults, bounds and comments.

As a program (`scripts/gen-settings`) it writes the page; with `--check` it fails when what is there is
not what the classes say.
"""

import ast
import difflib
import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from im_common.bus.kinds import KINDS
from im_common.runtime.config import RpcSettings, Settings, variable_name
from im_common.runtime.go_zero import pascal_key, snake_key
from im_common.runtime.sections import ClientConf
from im_local.paths import ROOT
from im_local.processes import SERVICES, Service

PAGE = ROOT / "docs" / "configuration.md"
_HEAD = """\
# Settings

What each process can be told: the key in its YAML (`-f`, by default `etc/…`), and the variable that
goes before it. How they are read, and where secrets come from, is in
[operations.md](operations.md#settings). A secret has no key in the YAML; its variable with `_FILE`
names a file that holds it. The value of a list is separated by commas in a variable. An abbreviation
in a key may have all its letters in capitals, as go-zero writes them: `DB` is `Db`, `CACertFile` is
`CaCertFile`.

This page is made of the classes of settings by `scripts/gen-settings`; `scripts/check` says when it is
not what they say.
"""
_VALIDATED = {
    "_address": "host:port",
    "_address_or_nothing": "host:port, or nothing",
    "_listen_address": "host:port, or :port",
    "_bus_kind": " or ".join(KINDS),
}
_NAMES: dict[Any, str] = {
    SecretStr: "secret",
    bool: "true, false",
    int: "integer",
    float: "number",
    str: "text",
}
_Keys = tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """One key that holds a value."""

    path: _Keys
    kind: str
    default: Any
    comment: str

    @property
    def key(self) -> str:
        return ".".join(pascal_key(part) for part in self.path)

    def row(self) -> str:
        key = "" if self.kind == "secret" else f"`{self.key}`"
        default = "" if self.default in ("", None) else f"`{_as_yaml(self.default)}`"
        cells = (key, f"`{variable_name(self.path)}`", self.kind, default, self.comment)
        return f"| {' | '.join(cells)} |"


def page() -> str:
    common, rpc = list(settings_of(Settings)), set(RpcSettings.model_fields)
    shared = {path[0] for path in (setting.path for setting in common)}
    parts = [_HEAD, "## Every process\n", _table(common)]
    parts += ["## Every process that serves gRPC\n"]
    parts += [_table([s for s in settings_of(RpcSettings) if s.path[0] not in shared])]
    sections = _shared_sections()
    for name, kind in sections.items():
        parts += [f"## {pascal_key(name)}: {_whose(kind)}\n", about(kind) + "\n"]
        parts += [_table(list(settings_of(kind, (name,))))]
    parts += ["## Other services: those whose section is named below\n", about(ClientConf) + "\n"]
    parts += [_table(list(settings_of(ClientConf, ("user_rpc",))))]
    for service in SERVICES:
        parts += _of_process(service, shared | rpc | set(sections))
    return "\n".join(parts)


def settings_of(cls: type[BaseModel], prefix: _Keys = ()) -> Iterator[Setting]:
    """All keys of a class that hold a value, in its order; of clients none."""
    for name, info in cls.model_fields.items():
        if _section(info) is ClientConf:
            continue
        if section := _section(info):
            first, *others = settings_of(section, (*prefix, name))
            yield replace(first, comment=f"{about(section)} {first.comment}".strip())
            yield from others
        else:
            comment = _comments(cls).get(name, "")
            yield Setting((*prefix, name), _kind(info), _default(info), comment)


def about(cls: type[BaseModel]) -> str:
    """What the class says of itself; its fields are spelt as the YAML has them."""
    # Not what its parents say.
    text = " ".join((cls.__dict__.get("__doc__") or "").split())
    for name in cls.model_fields:
        text = text.replace(f"`{name}`", f"`{pascal_key(name)}`")
    return text


def _of_process(service: Service, elsewhere: set[str]) -> Iterator[str]:
    cls = _class_of(service)
    fields = cls.model_fields
    yield f"## {service.name}\n"
    clients = {n: i.default for n, i in fields.items() if _section(i) is ClientConf}
    if also := [pascal_key(n) for n in _shared_sections() if n in fields]:
        yield f"Also: {', '.join(f'`{name}`' for name in also)}.\n"
    if clients:
        calls = ", ".join(f"`{pascal_key(n)}` ({c.timeout} ms)" for n, c in clients.items())
        yield f"Calls, with the time for each: {calls}.\n"
    own = [s for s in settings_of(cls) if s.path[0] not in elsewhere]
    if own:
        yield _table(own)
    shipped = [f"`{line}`" for line in _shipped(service, cls, elsewhere)]
    yield (
        textwrap.fill(
            f"`{service.config_file}` says for the keys above: {', '.join(shipped)}.",
            width=112,
            break_long_words=False,
            break_on_hyphens=False,
        )
        + "\n"
    )


def _shipped(service: Service, cls: type[Settings], elsewhere: set[str]) -> Iterator[str]:
    """What of the keys that several processes have is another value in the file than by default."""
    values = yaml.safe_load((ROOT / service.config_file).read_text(encoding="utf-8"))
    for setting in settings_of(cls):
        found = _lookup(values, setting.path)
        if setting.path[0] in elsewhere and found not in (None, setting.default):
            yield f"{setting.key}: {_as_yaml(found)}"


def _class_of(service: Service) -> type[Settings]:
    module, _, name = service.settings.partition(":")
    found: type[Settings] = getattr(importlib.import_module(module), name)
    return found


def _lookup(values: Any, path: _Keys) -> Any:
    for part in path:
        if not isinstance(values, dict):
            return None
        values = {snake_key(key): value for key, value in values.items()}.get(part)
    return values


@cache
def _shared_sections() -> dict[str, type[BaseModel]]:
    """Sections of single processes that have one class in several of them."""
    found: dict[str, list[type[BaseModel]]] = {}
    for service in SERVICES:
        for name, info in _class_of(service).model_fields.items():
            if name not in RpcSettings.model_fields and (section := _section(info)):
                found.setdefault(name, []).append(section)
    return {n: k[0] for n, k in found.items() if len(k) > 1 and k[0] is not ClientConf}


def _whose(kind: type[BaseModel]) -> str:
    names = [
        service.name
        for service in SERVICES
        if any(_section(i) is kind for i in _class_of(service).model_fields.values())
    ]
    return ", ".join(names)


def _table(settings: list[Setting]) -> str:
    rows = ["| key | variable | value | default | |", "|---|---|---|---|---|"]
    return "\n".join([*rows, *(setting.row() for setting in settings)]) + "\n"


def _section(info: FieldInfo) -> type[BaseModel] | None:
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _default(info: FieldInfo) -> Any:
    value = info.get_default(call_default_factory=False)
    return "" if isinstance(value, SecretStr) or info.is_required() else value


def _kind(info: FieldInfo) -> str:
    kind = info.annotation
    for validator in info.metadata:
        name = getattr(getattr(validator, "func", None), "__name__", "")
        if name in _VALIDATED:
            return _VALIDATED[name]
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is list:
        return "list"
    return _NAMES.get(kind, "") + _bounds(info)


def _bounds(info: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    found = [
        f"{word} {getattr(bound, sign)}"
        for bound in info.metadata
        for sign, word in words.items()
        if hasattr(bound, sign)
    ]
    return f", {', '.join(found)}" if found else ""


def _as_yaml(value: Any) -> str:
    if isinstance(value, str):
        return value
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("...\n").strip()


@cache
def _comments(cls: type[BaseModel]) -> dict[str, str]:
    """The comment right above each field, its own and those it has of its parents."""
    found: dict[str, str] = {}
    for parent in reversed(cls.__mro__):
        if issubclass(parent, BaseModel) and parent.__module__.partition(".")[0] != "pydantic":
            found.update(_own_comments(parent))
    return found


def _own_comments(cls: type[BaseModel]) -> dict[str, str]:
    source = textwrap.dedent(inspect.getsource(cls))
    lines = source.splitlines()
    (body,) = ast.parse(source).body
    found = {}
    for node in body.body if isinstance(body, ast.ClassDef) else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            above = node.lineno - 1
            while lines[above - 1].lstrip().startswith("#"):
                above -= 1
            text = " ".join(line.strip("# ") for line in lines[above : node.lineno - 1])
            if text:
                found[node.target.id] = text.replace("|", "\\|")
    return found


def main() -> int:
    wanted = page()
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    there = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    name = str(Path(PAGE).relative_to(ROOT))
    sys.stdout.writelines(
        difflib.unified_diff(there.splitlines(True), wanted.splitlines(True), name, "the classes")
    )
    if there != wanted:
        print(f"{name} is not what the settings say: run scripts/gen-settings", file=sys.stderr)
    return int(there != wanted)


if __name__ == "__main__":
    sys.exit(main())
