"""Each service can be installed and run without its siblings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from im_local.paths import ROOT
from im_local.processes import SERVICES

PACKAGES = {service.folder: service.package for service in SERVICES}


def _install(folder: Path, name: str, target: Path) -> None:
    """Builds the package from a copy (setuptools writes beside the sources) into ``target``."""
    source = folder / name
    shutil.copytree(ROOT / name, source, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    uv = Path(sys.executable).with_name("uv")
    subprocess.run(
        [uv, "pip", "install", "-q", "--offline", "--no-deps", "--no-build-isolation",
         "--python", sys.executable, "--target", target, source],
        check=True, capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package that all need is installed, by itself."""
    folder = tmp_path_factory.mktemp("common")
    _install(folder, "common", folder / "site")
    return folder / "site"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_service_runs_without_its_siblings(name: str, tmp_path: Path, common: Path) -> None:
    target = tmp_path / "site"
    _install(tmp_path, name, target)
    module = PACKAGES[name]
    # -S: the libraries, but not the checkout that .venv adds.
    path = os.pathsep.join([str(target), str(common), sysconfig.get_path("purelib")])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "IM_INTERNAL_SECRET": "x" * 32}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    version = run("-m", module, "version")
    assert version.stdout.split()[0] == name, version.stderr
    for service in (service for service in SERVICES if service.folder == name):
        config = tmp_path / name / "etc" / service.config
        valid = run("-m", service.module, "config", "validate", "-f", str(config))
        assert valid.returncode == 0, valid.stderr
    server = "server"
    loaded = run("-c", f"import {module}.{server}, sys; print([m for m in sys.modules])")
    assert loaded.returncode == 0, loaded.stderr
    siblings = set(PACKAGES.values()) - {module}
    assert not [m for m in siblings if f"'{m}'" in loaded.stdout]
    assert run("-c", f"import {sorted(siblings)[0]}").returncode == 1
    if any(service.migrations for service in SERVICES if service.folder == name):
        assert (target / module / "migrations" / "env.py").exists()
        assert list((target / module / "migrations" / "versions").glob("0001*.py"))
    if name == "api-gateway":
        assert (target / module / "static" / "app.js").exists()


def test_the_python_client_needs_nothing_of_the_servers(tmp_path: Path) -> None:
    target = tmp_path / "site"
    _install(tmp_path, "common/im_client", target)
    environment = {"PYTHONPATH": os.pathsep.join([str(target), sysconfig.get_path("purelib")])}
    script = "import im_client, sys; print(im_client.__file__, [m for m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert loaded.stdout.startswith(str(target))
    assert not {name for name in ("im", "im_common", "grpc") if f"'{name}'" in loaded.stdout}
    assert (target / "im_client" / "py.typed").exists()
