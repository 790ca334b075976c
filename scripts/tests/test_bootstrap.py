"""scripts/bootstrap in a copy of the checkout, with a stand-in for uv that installs nothing."""

import ast
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The stand-in notes what it is told, and hangs or fails when a file of that name is there.
UV = """#!/bin/sh
echo "$@" >> {folder}/calls
env | grep -E '^(UV|SSL)_' >> {folder}/environment
[ ! -e {folder}/traps ] || trap 'exit 1' INT
sleep 0.3
[ ! -e {folder}/hangs ] || sleep 20
[ ! -e {folder}/fails ] || exit 1
"""


class Checkout:
    """A folder with the scripts and two small lists of requirements."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir(parents=True)
        (folder / "requirements").mkdir()
        for name in ("bootstrap", "clean-environment.sh", "processes.toml"):
            shutil.copy(ROOT / "scripts" / name, folder / "scripts")
        for name in ("runtime", "dev", "uv"):
            (folder / "requirements" / f"{name}.txt").write_text(f"# {name}\n")
        for name in ("bin", "common", "chat-service"):
            (folder / name).mkdir()
        uv = folder / "bin" / "uv"
        uv.write_text(UV.format(folder=folder))
        uv.chmod(0o755)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        return subprocess.Popen(
            [self.folder / "scripts" / "bootstrap", *arguments],
            env={**os.environ, "PATH": path, **env},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **env: str) -> str:
        process = self.start(*arguments, **env)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 0, said
        return said

    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def workspace(self, **env: str) -> list[str]:
        """The folders of the checkout that its Python looks in."""
        done = subprocess.run(
            [self.folder / ".venv" / "bin" / "python", "-c", "import sys; print(ascii(sys.path))"],
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=True,
        )
        found: list[str] = ast.literal_eval(done.stdout)
        return [folder for folder in found if folder.startswith(f"{self.folder}/")]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


def test_the_first_run_makes_all_and_the_second_nothing(checkout: Checkout) -> None:
    """And the second takes no time."""
    begin = time.monotonic()
    assert "making .venv" in checkout.run()
    first_s = time.monotonic() - begin
    assert f"{checkout.folder}/chat-service" in checkout.workspace()
    begin = time.monotonic()
    assert checkout.run() == ""
    # Compared in one run, as a machine may be slow.
    assert time.monotonic() - begin < first_s / 5
    assert len(checkout.calls()) == 1


def test_dev_is_added_to_runtime_and_includes_it(checkout: Checkout) -> None:
    checkout.run("runtime")
    checkout.run("dev")
    assert checkout.run("runtime") == ""
    assert [call.rpartition("/")[2] for call in checkout.calls()] == ["runtime.txt", "dev.txt"]


def test_changed_requirements_are_installed(checkout: Checkout) -> None:
    checkout.run()
    (checkout.folder / "requirements" / "runtime.txt").write_text("# other\n")
    assert "installing the packages" in checkout.run()


def test_an_interrupted_run_is_repaired(checkout: Checkout) -> None:
    """The next run starts from nothing, for what was left may be broken."""
    hang = checkout.folder / "hangs"
    hang.touch()
    process = checkout.start()
    deadline = time.monotonic() + 20
    while not checkout.calls():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, 9)
    process.communicate()
    hang.unlink()
    said = checkout.run()
    assert "making .venv" in said
    assert "installing the packages" in said
    assert checkout.run() == ""


def test_ctrl_c_ends_it_whatever_it_runs(checkout: Checkout) -> None:
    """And not just that, upon which the next thing would be tried."""
    (checkout.folder / "traps").touch()
    (checkout.folder / "hangs").touch()
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        process = checkout.start()
    finally:
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 20
    while not checkout.calls():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert "using pip" not in said


def test_a_moved_checkout_gets_its_new_folders(checkout: Checkout, tmp_path: Path) -> None:
    checkout.run()
    checkout.folder.rename(tmp_path / "moved")
    checkout.folder = tmp_path / "moved"
    checkout.run()
    assert f"{checkout.folder}/common" in checkout.workspace()
    assert len(checkout.calls()) == 1


def test_two_runs_at_once_take_turns(checkout: Checkout) -> None:
    """The second finds all done."""
    first, second = checkout.start(), checkout.start()
    for process in (first, second):
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 0, said
    assert len(checkout.calls()) == 1


def test_pip_does_it_where_uv_cannot(checkout: Checkout) -> None:
    (checkout.folder / "fails").touch()
    assert "installing the packages of runtime with pip" in checkout.run()
    assert checkout.run() == ""


def test_settings_of_pip_are_handed_on_to_uv(checkout: Checkout) -> None:
    """Unless the user gave uv its own."""
    checkout.run(PIP_INDEX_URL="http://127.0.0.1:9/a", PIP_CERT="/cert", SSL_CERT_FILE="")
    given = (checkout.folder / "environment").read_text()
    assert "UV_DEFAULT_INDEX=http://127.0.0.1:9/a" in given
    assert "SSL_CERT_FILE=/cert" in given
    (checkout.folder / "environment").unlink()
    index = {"PIP_INDEX_URL": "http://127.0.0.1:9/a", "UV_DEFAULT_INDEX": "http://127.0.0.1:9/b"}
    checkout.run("dev", **index)
    given = (checkout.folder / "environment").read_text()
    assert "UV_DEFAULT_INDEX=http://127.0.0.1:9/b" in given


def test_python_variables_of_the_user_do_not_reach_it(checkout: Checkout, tmp_path: Path) -> None:
    """Not a folder before its own, nor a setting that would end each Python."""
    (tmp_path / "venv.py").write_text("raise SystemExit('hostile')")
    said = checkout.run(PYTHONPATH=str(tmp_path), PYTHONHOME=str(tmp_path), PYTHONINSPECT="1")
    assert "installing the packages" in said


def test_a_folder_of_any_name_will_do_in_any_locale(tmp_path: Path) -> None:
    """LC_ALL=C, unlike LANG=C, has Python read its own files as ASCII."""
    checkout = Checkout(tmp_path / "mé")
    checkout.run(LC_ALL="C")
    assert f"{checkout.folder}/common" in checkout.workspace(LC_ALL="C")
    assert checkout.run(LC_ALL="C") == ""


def test_a_machine_without_python_is_told_what_to_install(checkout: Checkout) -> None:
    empty = checkout.folder / "empty"
    empty.mkdir()
    for program in ("bash", "cat", "cmp", "dirname"):
        (empty / program).symlink_to(str(shutil.which(program)))
    process = checkout.start(PATH=str(empty))
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "apt-get install python3 python3-venv" in said


def test_a_python_without_venv_is_told_what_to_install(
    checkout: Checkout, fake_python: Callable[[], str]
) -> None:
    process = checkout.start(PATH=fake_python())
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "apt-get install python3-venv" in said


@pytest.fixture
def fake_python(checkout: Checkout) -> Callable[[], str]:
    """A folder for PATH whose python3 is new enough but cannot import venv."""

    def make() -> str:
        folder = checkout.folder / "only"
        folder.mkdir()
        for program in ("bash", "cat", "cmp", "dirname", "sh", "flock"):
            if found := shutil.which(program):
                (folder / program).symlink_to(found)
        python = folder / "python3"
        python.write_text('#!/bin/sh\ncase "$2" in *venv*) exit 1;; esac\nexit 0\n')
        python.chmod(0o755)
        return str(folder)

    return make
