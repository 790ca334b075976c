"""What operators watch is there: each query of the dashboard and of the alerts, and each name in the
documentation, is held against /metrics of a running system."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

import httpx
import promql_parser as promql
import pytest
import yaml
from im_people import Connect, Device, MakeUser
from prometheus_client.parser import text_string_to_metric_families

from im_local.paths import ROOT
from im_local.testing import System

# What Prometheus adds to what it scrapes.
OF_PROMETHEUS = {"job", "instance"}
# Nobody has met the unexpected here, or sent a file.
WITHOUT_SAMPLES = {
    "im_faults_total": {"where"},
    "im_pictures_total": {"outcome"},
    "im_file_bytes_total": {"way"},
}
ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/im.json").read_text())

# Names of samples, each with the values of its labels.
Seen = Mapping[str, Mapping[str, set[str]]]


def read_metrics(text: str, seen: dict[str, dict[str, set[str]]], job: str) -> None:
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        seen[name]["job"].add(job)
        for sample in family.samples:
            labels = {**sample.labels, "job": job}
            for label, value in labels.items():
                seen[sample.name][label].add(value)


async def converse(new_user: MakeUser, online: Connect) -> None:
    """Something of each kind: a message live, one into a list, an event, a connection ended."""
    a, b, away = await new_user(), await new_user(), await new_user()
    device_a, device_b = await online(a), await online(b, query="?device_id=phone")
    await device_a.ask(to=b.user_id, content="hello")
    await device_b.wait_count("message", 1)
    await device_a.ask(to=away.user_id, content="hello")
    await a.request("POST", "/v1/friends/requests", json={"user_id": b.user_id})
    await device_b.wait_count("event", 1)
    newer: Device = await online(b, query="?device_id=phone")
    assert await device_b.wait_closed() == 4002
    await newer.send(type="ping")
    await newer.wait_count("pong", 1)


@pytest.fixture
async def seen(
    system: System, http: httpx.AsyncClient, new_user: MakeUser, online: Connect
) -> Seen:
    await converse(new_user, online)
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for process, address in system.ready.dev.items():
        answer = await http.get(f"http://{address}/metrics")
        # `ws-gateway-2` is a second one.
        read_metrics(answer.text, found, re.sub(r"-\d+$", "", process))
    for name, labels in WITHOUT_SAMPLES.items():
        for label in labels:
            found[name][label].add("")
    found["up"]["job"] = found["process_open_fds"]["job"]
    return found


def alert_queries() -> Iterator[tuple[str, str, str]]:
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"], " ".join(rule["annotations"].values())


def panel_queries() -> Iterator[tuple[str, str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", "5m").replace("$job", ".*")
            yield panel["title"], query, target["legendFormat"]


def problems(query: str, seen: Seen) -> list[str]:
    """What of a query is not there."""
    found: list[str] = []

    def labels_of(expression: promql.Expr) -> set[str]:
        labels = set(OF_PROMETHEUS)

        def look(at: promql.Expr) -> None:
            if isinstance(at, promql.VectorSelector):
                labels.update(seen.get(str(at.name), ()))

        promql.walk(expression, look)
        return labels

    def visit(at: promql.Expr) -> None:
        if isinstance(at, promql.VectorSelector):
            name = str(at.name)
            if name not in seen:
                found.append(f"no metric {name}")
                return
            for matcher in at.matchers.matchers:
                values = seen[name].get(matcher.name)
                if values is None:
                    found.append(f"{name} has no label {matcher.name}")
                elif matcher.op == promql.MatchOp.Equal and matcher.value not in values:
                    found.append(f"{name} is never {matcher.name}={matcher.value}")
        elif isinstance(at, promql.AggregateExpr) and at.modifier is not None:
            unknown = set(at.modifier.labels) - labels_of(at.expr)
            found.extend(f"nothing has the label {label}" for label in sorted(unknown))

    promql.walk(promql.parse(query), visit)
    return found


def said(text: str) -> set[str]:
    """The labels that a legend or the text of an alert names."""
    return set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text))


def labels_of_result(query: str) -> set[str]:
    """By which labels its first aggregation tells apart; what has none keeps Prometheus' own."""
    found: list[set[str]] = []

    def visit(at: promql.Expr) -> None:
        if isinstance(at, promql.AggregateExpr):
            found.append(set(at.modifier.labels) if at.modifier else set())

    promql.walk(promql.parse(query), visit)
    return found[0] if found else OF_PROMETHEUS


async def test_each_query_asks_for_what_a_running_system_shows(seen: Seen) -> None:
    wrong = {
        (title, query): said_of_it
        for title, query, _ in [*alert_queries(), *panel_queries()]
        if (said_of_it := problems(query, seen))
    }
    assert wrong == {}


def test_a_query_for_what_is_not_there_is_found() -> None:
    seen = {"im_a_total": {"job": {"x"}, "why": {"rate"}}}
    assert problems('sum by (why) (rate(im_a_total{why="rate"}[5m]))', seen) == []
    assert problems("rate(im_b_total[5m]) > 0", seen) == ["no metric im_b_total"]
    assert problems("sum by (who) (im_a_total)", seen) == ["nothing has the label who"]
    assert problems('im_a_total{who="x"}', seen) == ["im_a_total has no label who"]
    assert problems('im_a_total{why="x"}', seen) == ["im_a_total is never why=x"]


@pytest.mark.parametrize(("title", "query", "text"), [*alert_queries(), *panel_queries()])
def test_what_is_said_of_a_query_names_labels_that_it_has(
    title: str, query: str, text: str
) -> None:
    assert said(text) <= labels_of_result(query), title


async def test_the_documentation_has_each_metric_with_its_labels(seen: Seen) -> None:
    text = (ROOT / "docs/operations.md").read_text()
    documented = {
        name: {label.strip() for label in labels.split(",") if label.strip()}
        for name, labels in re.findall(r"^\| `(im_\w+)` \|([^|]*)\|", text, re.MULTILINE)
    }
    shown: dict[str, set[str]] = defaultdict(set)
    for name, labels in seen.items():
        family = re.sub(r"_(bucket|count|sum|created)$", "", name)
        if family.startswith("im_"):
            shown[family] |= set(labels) - {"job", "le"}
    assert documented == shown


def test_the_documentation_has_each_alert() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    table = text.partition("| alert | what to do |")[2].partition("\n\n")[0]
    documented = [
        name.strip()
        for row in re.findall(r"^\| ([A-Z][^|]*)\|", table, re.M)
        for name in row.split(",")
    ]
    assert sorted(documented) == sorted(name for name, _, _ in alert_queries())
