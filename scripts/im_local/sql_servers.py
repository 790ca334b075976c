"""MariaDB: how the data is made once, and the command line; and what MySQL has of that too."""

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from im_local.errors import LocalError
from im_local.files import write_atomically
from im_local.install import program
from im_local.ports import HOST

_SETTINGS = [
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_bin",
    "--innodb-buffer-pool-size=256M",
    "--max-connections=500",
    "--performance-schema=OFF",
    "--skip-name-resolve",
]


def mariadb_argv(
    folder: Path, port: int, accounts: Path, settings: Sequence[str] = (), *, make: bool = True
) -> list[str]:
    """The command line, after the data was made in ``folder`` (unless ``make`` is False); it runs the
    file ``accounts`` first."""
    if make and not (folder / "data").exists():
        make_mariadb(folder)
    return [program("mariadbd"), *common_options(folder, port, accounts), *settings]


def write_accounts(path: Path, statements: Iterable[str]) -> Path:
    """A file for such a server to run, which nobody else can read."""
    write_atomically(path, "".join(f"{line};\n" for line in statements), mode=0o600)
    return path


def account(user: str, password: str, rights: str) -> list[str]:
    """The statements that make an account with ``rights`` (`ALL PRIVILEGES ON db.*`), or give it this
    password."""
    name = f"'{user}'@'{HOST}'"
    return [
        f"CREATE USER IF NOT EXISTS {name}",
        f"ALTER USER {name} IDENTIFIED BY '{password}'",
        f"GRANT {rights} TO {name}",
    ]


def common_options(folder: Path, port: int, accounts: Path) -> list[str]:
    """What MariaDB and MySQL are both told."""
    user = ["--user=root"] if os.geteuid() == 0 else []
    # No socket file: root may log in only by one, so nobody can; a path cannot be too long; and MySQL
    # does not start while one that was killed has the file and nobody has asked how it ended.
    return [
        "--no-defaults",
        "--socket=",
        *user,
        f"--datadir={folder / 'data'}",
        f"--port={port}",
        f"--bind-address={HOST}",
        f"--pid-file={folder / 'pid'}",
        f"--init-file={accounts}",
        *_SETTINGS,
    ]


def make_mariadb(folder: Path) -> None:
    """The data of a new server, in ``folder``."""
    # Made beside its place and moved there whole, so that a broken start is begun anew.
    part = folder / "data.part"
    shutil.rmtree(part, ignore_errors=True)
    user = getpass.getuser()
    must_run(
        program("mariadb-install-db"),
        "--no-defaults",
        f"--datadir={part}",
        f"--user={user}",
        "--auth-root-authentication-method=socket",
        f"--auth-root-socket-user={user}",
        "--skip-test-db",
        "--skip-name-resolve",
    )
    part.rename(folder / "data")


def must_run(*command: str) -> None:
    """Raises LocalError with the end of what the command said when it fails."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        output = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise LocalError(f"{Path(command[0]).name} failed:\n{output}")
