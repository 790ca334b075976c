"""MySQL itself, which Debian has in its unstable suite alone.

It is unpacked with the C library of that suite, and run by that; nothing is installed.
"""

import os
import shutil
import subprocess
from pathlib import Path

from im_local.console import Console
from im_local.errors import LocalError
from im_local.files import FileLock, tail
from im_local.paths import TOOLS
from im_local.sql_servers import common_options, must_run

# Names a folder in which it is unpacked already.
VARIABLE = "MYSQL_ROOT"

_PACKAGE = "mysql-server-core"
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
# For its other programs.
_NEEDLESS = ("perl", "libperl")


def fetch(*, log: Path, console: Console) -> None:
    """Unpack it if it is not there. Raises LocalError when it cannot be had."""
    if _is_there():
        return
    if VARIABLE in os.environ:
        raise LocalError(f"{VARIABLE}: there is no usr/sbin/mysqld in {_root()}")
    console.step("fetching MySQL from Debian's unstable suite (apt)")
    TOOLS.mkdir(exist_ok=True)
    with FileLock(TOOLS / "lock", wait=True):
        if _is_there():
            return
        part = TOOLS / "mysql.part"
        shutil.rmtree(part, ignore_errors=True)
        (part / "debs").mkdir(parents=True)
        try:
            _unpack(part, log)
        except (OSError, subprocess.CalledProcessError) as error:
            raise LocalError(f"Could not fetch MySQL ({error}):\n{tail(log, lines=10)}") from error
        (part / "root").rename(_root())
        shutil.rmtree(part)


def mysql_argv(folder: Path, port: int, accounts: Path) -> list[str]:
    """The command line, after the data was made in ``folder``; it runs the file ``accounts`` first."""
    options = [
        f"--basedir={_root() / 'usr'}",
        f"--lc-messages-dir={_root() / 'usr/share/mysql'}",
        "--secure-file-priv=NULL",
        "--mysqlx=OFF",
        # What is committed survives its own end, not the machine's: it makes tables in half the time.
        "--skip-log-bin",
        "--innodb-flush-log-at-trx-commit=2",
        "--innodb-doublewrite=OFF",
    ]
    common = common_options(folder, port, accounts)
    if not (folder / "data").exists():
        _make_data(folder, common, options)
    return [*_mysqld(), *common, *options]


def _root() -> Path:
    return Path(os.environ.get(VARIABLE) or TOOLS / "mysql")


def _is_there() -> bool:
    return (_root() / "usr/sbin/mysqld").exists()


def _mysqld() -> list[str]:
    loaders = sorted(_root().glob("usr/lib/*/ld-linux*.so.*"))
    if not loaders:
        raise LocalError(f"There is no C library in {_root()}.")
    return [
        str(loaders[0]),
        "--library-path",
        str(loaders[0].parent),
        str(_root() / "usr/sbin/mysqld"),
    ]


def _make_data(folder: Path, common: list[str], options: list[str]) -> None:
    # Made beside its place and moved there whole, so that a broken start is begun anew.
    part = folder / "data.part"
    shutil.rmtree(part, ignore_errors=True)
    kept = [one for one in common if not one.startswith(("--datadir=", "--init-file="))]
    must_run(*_mysqld(), *kept, *options, "--initialize-insecure", f"--datadir={part}")
    part.rename(folder / "data")


def _unpack(part: Path, log: Path) -> None:
    apt = _apt(part)
    run = ["apt-get", *apt]
    _run([*run, "update", "-qq"], part, log)
    planned = _output([*run, "install", "-s", "--no-install-recommends", _PACKAGE])
    names = [line.split()[1] for line in planned.splitlines() if line.startswith("Inst ")]
    wanted = [name for name in names if not name.startswith(_NEEDLESS)]
    _run([*run, "download", "-qq", *wanted], part / "debs", log)
    for deb in sorted((part / "debs").glob("*.deb")):
        _run(["dpkg", "-x", str(deb), str(part / "root")], part, log)
    for needless in ("doc", "man", "locale", "lintian"):
        shutil.rmtree(part / "root/usr/share" / needless, ignore_errors=True)


def _apt(part: Path) -> list[str]:
    """The options of an apt that knows the unstable suite alone, and keeps all that it has here."""
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    mirrors = [
        line for line in _output(targets).splitlines() if line.rstrip("/").endswith("debian")
    ]
    if not mirrors:
        raise LocalError(
            "MySQL comes from Debian's unstable suite, and apt knows no mirror of Debian."
        )
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (part / "apt" / folder).mkdir(parents=True)
    (part / "apt/status").touch()
    sources = part / "apt/sources.list"
    sources.write_text(f"deb [signed-by={_KEYS}] {mirrors[0]} sid main\n", encoding="utf-8")
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State": part / "apt/state",
        "Dir::State::status": part / "apt/status",
        "Dir::Cache": part / "apt/cache",
        # It may write nowhere else either.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _output(command: list[str]) -> str:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    ).stdout


def _run(command: list[str], folder: Path, log: Path) -> None:
    with log.open("ab") as output:
        subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=True,
        )
