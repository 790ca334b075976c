"""scripts/processes.toml is the one list of processes."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from im_local import last_will
from im_local.paths import ROOT
from im_local.processes import SERVICES
from im_local.system import base_ports
from im_local.testing import free_port_offset

PACKAGES = {service.package for service in SERVICES}
FOLDERS = {service.folder for service in SERVICES}
WITH_DATABASE = {service.package for service in SERVICES if service.database}
TOOLS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
CONTRACTS = {contract["name"]: contract for contract in TOOLS["importlinter"]["contracts"]}

# A worker that has nothing to do.
ENTRY = """
[[process]]
name = "push"
folder = "push-worker"
module = "push_worker"
config = "push.yaml"
operator = 9171
"""
FILES = {
    "etc/push.yaml": "Name: push-worker\nEtcd:\n  Hosts: [127.0.0.1:2379]\n",
    "push_worker/__init__.py": "",
    "push_worker/config.py": "from im_common.runtime.config import Settings\n",
    "push_worker/__main__.py": """
import sys
from pathlib import Path

from im_common.runtime.cli import Program, main
from push_worker.config import Settings


def serve(settings):
    from im_common.runtime import process

    return process.run(settings, process.serve)


sys.exit(main(Program("push-worker", Settings, Path("etc/push.yaml"), serve)))
""",
}


def test_the_tools_know_every_folder_and_package() -> None:
    known = {"common", "scripts", "tests"}
    assert set(TOOLS["mypy"]["mypy_path"]) == FOLDERS | known
    linter = TOOLS["importlinter"]
    others = {"im_common", "im", "im_admin", "im_client", "im_local"}
    assert set(linter["root_packages"]) == PACKAGES | others
    assert set(CONTRACTS["services stand alone"]["modules"]) == PACKAGES
    forbidden = CONTRACTS["common knows no service"]["forbidden_modules"]
    assert set(forbidden) == PACKAGES | {"im_admin", "im_local"}
    admin = CONTRACTS["the tool of operators knows services by their RPCs"]["forbidden_modules"]
    assert set(admin) >= PACKAGES
    assert set(CONTRACTS["no product imports what is for tests"]["source_modules"]) >= PACKAGES
    layered = CONTRACTS["server over logic over model"]["containers"]
    assert set(layered) == WITH_DATABASE
    logic = CONTRACTS["logic knows no transport"]["source_modules"]
    assert {f"{package}.logic" for package in WITH_DATABASE} <= set(logic)


def test_patterns_of_the_tools_find_every_folder() -> None:
    for patterns, below in (
        (TOOLS["ruff"]["src"], ""),
        (TOOLS["pytest"]["ini_options"]["testpaths"], "/tests"),
    ):
        found = {str(path.relative_to(ROOT)) for text in patterns for path in ROOT.glob(text)}
        assert {f"{folder}{below}" for folder in FOLDERS} <= found


def test_every_folder_with_settings_is_a_process() -> None:
    assert {path.parents[1].name for path in ROOT.glob("*/etc/*.yaml")} == FOLDERS
    configs = {str(path.relative_to(ROOT)) for path in ROOT.glob("*/etc/*.yaml")}
    assert configs == {service.config_file for service in SERVICES}


def test_an_entry_and_its_folder_are_a_process(checkout: Path, hostile_packages: Path) -> None:
    """It is found by Python, started, and ready before scripts/up says so.

    All this in an environment whose PYTHONPATH has packages of the same names as ours.
    """
    with (checkout / "scripts/processes.toml").open("a") as table:
        table.write(ENTRY)
    for name, text in FILES.items():
        file = checkout / "push-worker" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    data, offset = checkout / "data", free_port_offset([*base_ports(), 9171])
    up = [checkout / "scripts/up", "--detach", "--data", data, "--port-offset", str(offset)]
    hostile = {"PYTHONPATH": str(hostile_packages), "PYTHONWARNINGS": "error"}
    down = [str(checkout / "scripts/down"), "--data", str(data)]
    last_will.run_at_our_end(down)
    done = subprocess.run(up, env=os.environ | hostile, capture_output=True, text=True, check=False)
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        ready = json.loads((data / "ready.json").read_text())
        assert ready["dev"]["push"] == f"127.0.0.1:{9171 + offset}"
        command = Path(f"/proc/{ready['pids']['push']}/cmdline").read_bytes()
        assert b"push_worker" in command
        with urllib.request.urlopen(f"http://{ready['dev']['push']}/readyz") as answer:
            assert answer.status == 200
    finally:
        subprocess.run(down, check=True)


@pytest.fixture
def hostile_packages(tmp_path: Path) -> Path:
    for name in ("im", "im_common", "im_local", "yaml"):
        (tmp_path / "hostile" / name).mkdir(parents=True)
        (tmp_path / "hostile" / name / "__init__.py").write_text("raise RuntimeError('hostile')")
    return tmp_path / "hostile"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this one, whose environment has the packages of ours."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    venv = tmp_path / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site_packages,) = venv.glob("lib/python3*/site-packages")
    (site_packages / "ours.pth").write_text(sysconfig.get_path("purelib"))
    shutil.copy(tmp_path / "requirements/runtime.txt", venv / ".im-runtime.txt")
    return tmp_path
