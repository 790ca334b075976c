"""Prometheus asks every process."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
import yaml

from im_local.paths import ROOT
from im_local.processes import SERVICES

FOLDER = ROOT / "deploy/prometheus"
COMPOSE = yaml.safe_load((ROOT / "deploy/docker-compose.yaml").read_text())["services"]


def test_each_process_is_asked_on_its_operators_port() -> None:
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    asked: dict[str, list[dict[str, Any]]] = {j["job_name"]: j["dns_sd_configs"] for j in jobs}
    assert {name: conf["port"] for name, (conf,) in asked.items()} == {
        process.name: process.operator for process in SERVICES
    }
    assert {host for (conf,) in asked.values() for host in conf["names"]} <= set(COMPOSE)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed")
def test_prometheus_takes_its_settings_and_rules() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", FOLDER / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
