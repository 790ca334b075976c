"""The objects for Kubernetes say what the services understand.

`tests/prove_k8s.sh` holds them against the published schemas.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from im_common.testing.certificates import Authority, PeerFolder
from im_local.paths import ROOT
from im_local.processes import SERVICES, VARIABLES, Service

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl's kustomize")
BASE = "deploy/k8s/base"
EXAMPLE = "deploy/k8s/overlays/example"
AUTHORITY = Authority()
(CHAT,) = (process for process in SERVICES if process.name == "chat")
Object = dict[str, Any]


@functools.cache
def objects(folder: str = BASE) -> list[Object]:
    done = subprocess.run(
        ["kubectl", "kustomize", ROOT / folder], capture_output=True, text=True, check=True
    )
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def of_kind(kind: str, folder: str = BASE) -> dict[str, Object]:
    return {o["metadata"]["name"]: o for o in objects(folder) if o["kind"] == kind}


def pod(process: Service, folder: str = BASE) -> Object:
    name = process.name if "-" in process.name else process.folder
    spec: Object = of_kind("Deployment", folder)[name]["spec"]["template"]["spec"]
    return spec


def container(process: Service, folder: str = BASE) -> Object:
    (found,) = pod(process, folder)["containers"]
    only: Object = found
    return only


def environment(given: Object, folder: str) -> dict[str, str]:
    """The values that a container's variables have; each secret is 40 letters, and optional ones are
    there in the example alone."""
    values: dict[str, str] = {}
    for variable in given["env"]:
        source = variable.get("valueFrom", {})
        if source.get("secretKeyRef", {}).get("optional") and folder == BASE:
            continue
        if asked := source.get("configMapKeyRef"):
            value = of_kind("ConfigMap", folder)[asked["name"]]["data"][asked["key"]]
        elif "value" in variable:
            # As Kubernetes does: what stands before it.
            value = re.sub(r"\$\((\w+)\)", lambda name: values[name[1]], variable["value"])
        else:
            value = "x" * 40
        values[variable["name"]] = value
    return values


@pytest.mark.parametrize("process", SERVICES, ids=lambda process: process.name)
def test_each_process_is_there(process: Service) -> None:
    ours = container(process)
    assert ours["image"] == f"im/{process.folder}"
    assert ours["args"] == ["serve", "-f", f"/etc/im/{process.config}"]
    values = environment(ours, BASE)
    assert values.get("MODULE", process.package) == process.module
    listens = {VARIABLES[what]: f"0.0.0.0:{port}" for what, port in process.ports.items()}
    assert {name: values.get(name) for name in listens} == listens
    ports = {port["containerPort"] for port in ours["ports"]}
    assert ports == {process.operator, *process.ports.values()}
    source = values.get("IM_DB__DATA_SOURCE", "")
    assert source.rpartition("/")[2] == process.database
    migrating = [environment(c, BASE) for c in pod(process).get("initContainers", [])]
    assert [m["IM_DB__DATA_SOURCE"] for m in migrating] == ([source] if source else [])


@pytest.mark.parametrize("folder", [BASE, EXAMPLE])
@pytest.mark.parametrize("process", SERVICES, ids=lambda process: process.name)
def test_a_process_accepts_its_settings(process: Service, folder: str, tmp_path: Path) -> None:
    values = environment(container(process, folder), folder)
    ours = {name: value for name, value in values.items() if name.startswith("IM_")}
    if folder == EXAMPLE:
        # These a process tries at its start.
        PeerFolder(tmp_path).put(trusted=[AUTHORITY], pair=AUTHORITY.issue())
        ours |= PeerFolder(tmp_path).variables
    done = subprocess.run(
        [sys.executable, "-m", process.module, "config", "validate", "-f", process.config_file],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **ours},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("process", SERVICES, ids=lambda process: process.name)
def test_files_that_settings_name_are_mounted_whole(process: Service) -> None:
    """By a part of a Secret alone (subPath) a pod would never see a new one."""
    spec = pod(process, EXAMPLE)
    secrets = {volume["name"] for volume in spec["volumes"] if "secret" in volume}
    for one in [*spec["containers"], *spec.get("initContainers", [])]:
        mounts = {m["mountPath"]: m for m in one["volumeMounts"]}
        values = environment(one, EXAMPLE)
        files = [value for name, value in values.items() if name.endswith(("CERT_FILE", "CA_FILE"))]
        folders = {value.rpartition("/")[0] for value in files if value}
        assert folders <= mounts.keys()
        assert folders
        for folder in folders:
            assert mounts[folder]["name"] in secrets
            assert mounts[folder]["readOnly"] is True
            assert "subPath" not in mounts[folder]


def test_the_example_says_what_to_write_for_all_that_may_be_off() -> None:
    """All is off in the base, and on in the example."""
    base, example = (environment(container(CHAT, folder), folder) for folder in (BASE, EXAMPLE))
    for variable, off, on in (
        ("IM_RPC_TLS__CA_CERT_FILE", "", "/run/im/rpc-tls/ca.crt"),
        ("IM_DB__TLS", "off", "verify_identity"),
        ("IM_BUS__TLS", "off", "verify_identity"),
        ("IM_BUS__USERNAME", "", "im"),
        ("IM_REDIS__TYPE", "node", "sentinel"),
        ("IM_REDIS__TLS", "false", "true"),
        ("IM_ETCD__CA_CERT_FILE", "", "/run/im/servers/ca.crt"),
    ):
        assert (base[variable], example[variable]) == (off, on)


@pytest.mark.parametrize("process", SERVICES, ids=lambda process: process.name)
def test_a_pod_may_do_no_more_than_it_must_and_ends_in_order(process: Service) -> None:
    spec = pod(process)
    assert spec["securityContext"]["runAsNonRoot"] is True
    # An unknown variable that begins with IM_ is an error.
    assert spec["enableServiceLinks"] is False
    for one in [*spec["containers"], *spec.get("initContainers", [])]:
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert one["resources"]["limits"]["memory"]
    ours = container(process)
    (word, seconds) = ours["lifecycle"]["preStop"]["exec"]["command"]
    assert word == "sleep"
    # A process takes 10 s at most.
    assert int(seconds) + 10 < spec["terminationGracePeriodSeconds"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert ours[probe]["httpGet"]["port"] == "operator"


def test_every_deployment_is_scaled_and_not_taken_down_whole() -> None:
    deployments = of_kind("Deployment")
    scaled = of_kind("HorizontalPodAutoscaler")
    budgets = of_kind("PodDisruptionBudget")
    assert deployments.keys() == scaled.keys() == budgets.keys()
    for name, deployment in deployments.items():
        assert scaled[name]["spec"]["scaleTargetRef"]["name"] == name
        chosen = {"matchLabels": {"app.kubernetes.io/name": name}}
        assert deployment["spec"]["selector"] == budgets[name]["spec"]["selector"] == chosen
        assert "replicas" not in deployment["spec"], "the autoscaler's to say"


def test_it_scales_by_metrics_that_are_there() -> None:
    asked = {
        metric[kind]["metric"]["name"]
        for scaler in of_kind("HorizontalPodAutoscaler").values()
        for metric in scaler["spec"]["metrics"]
        for kind in ("pods", "external")
        if kind in metric
    }
    assert len(asked) == 2
    sources = [p.read_text() for p in (ROOT / "common/im_common").rglob("*.py")]
    for name in asked:
        assert any(re.search(rf'Gauge\(\s*"{name}"', source) for source in sources), name


def test_the_rules_of_the_network_name_ports_that_are_there() -> None:
    named = {
        port["port"]
        for policy in of_kind("NetworkPolicy").values()
        for rule in policy["spec"].get("ingress", [])
        for port in rule["ports"]
    }
    there = {port["name"] for process in SERVICES for port in container(process)["ports"]}
    assert named == there
