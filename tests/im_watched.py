"""What Prometheus of deploy/docker-compose.yaml has of a system that runs, asked as Grafana would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx

from im_local.console import Console
from im_local.paths import ROOT
from im_local.processes import SERVICES

PROMETHEUS = "http://127.0.0.1:9090"
LIMIT_S = 120.0
# What has no series while all is well.
SILENT = {
    "Calls of others that fail",
    "Ended by us, by close code",
    "What nobody expected",
}


async def wait_for_figures(http: httpx.AsyncClient, console: Console) -> int:
    """Until each process is scraped, no rule fails and each query of the dashboard that has something
    to show does; how many queries those are."""
    queries = list(_queries())
    async with asyncio.timeout(LIMIT_S):
        while missing := await _missing(http, queries):
            console.step(f"waiting for {len(missing)}, {missing[0]} among them")
            await asyncio.sleep(5)
    return len(queries)


async def _missing(http: httpx.AsyncClient, queries: list[tuple[str, str]]) -> list[str]:
    targets = (await _prometheus(http, "targets"))["activeTargets"]
    up = {target["labels"]["job"] for target in targets if target["health"] == "up"}
    missing = [service.name for service in SERVICES if service.name not in up]
    groups = (await _prometheus(http, "rules"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    missing += [rule["name"] for rule in rules if rule["health"] != "ok"]
    if not rules:
        missing.append("rules")
    for title, query in queries:
        if title not in SILENT and not (await _prometheus(http, "query", query=query))["result"]:
            missing.append(query)
    return missing


async def _prometheus(http: httpx.AsyncClient, what: str, **asked: str) -> Any:
    answer = await http.get(f"{PROMETHEUS}/api/v1/{what}", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def _queries() -> Iterator[tuple[str, str]]:
    """Of the dashboard, as Grafana would fill them in: of each its panel's title."""
    file = ROOT / "deploy/grafana/dashboards/im.json"
    for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", "1m").replace("$job", ".*")
            yield panel["title"], query
