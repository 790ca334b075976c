#!/usr/bin/env bash
# opentelemetry-exporter-prometheus 0.66b2 (SDK 1.45.2), with Prometheus 2.42.0: what was counted under the status 200
# and what was counted under "200" are two lines with the same labels; Prometheus takes the first and drops the other.
#
# One would expect one series with the sum, or two that can be told apart: the SDK keeps the number and the text apart,
# as its data model does, and has a sum for each. But a label of Prometheus is text, and the exporter writes both sums
# with the same labels. Prometheus has one value for a series and a time: it stores the first line, says nothing of the
# second, and calls the scrape a success: up is 1. So where one place counts by response.status and another by a
# header or str(status), or True beside "true", what came second since the process began is in no query, and after
# a restart it may be the other one that is missing: an alarm on errors can be silent for a week and ring the next. Who
# looks at /metrics sees both lines, and a unit test that reads the SDK's metrics too.
#
# Seen, 5 counted under 200 and 7 under "200": /metrics has 5 and 7, Prometheus 5. In the other order: 7 and 5, and 7.
# Both under "200": 12 and 12. 5 under True and 7 under "true": 5 and 7, and 5. up is 1, no warning in Prometheus's log.
# Exits 1 when that is no longer so. Needs Debian 12 (amd64) with python3.11.
set -euo pipefail
version=2.42.0+ds-5+deb12u1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get -o APT::Sandbox::User=root download -qq "prometheus=$version"
dpkg-deb -x prometheus_*.deb server
python3.11 -m venv venv
venv/bin/pip install -q opentelemetry-sdk==1.45.2 opentelemetry-exporter-prometheus==0.66b2 prometheus-client==0.26.0
cat >show.py <<'PY'
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import generate_latest

CASES = {
    "number_first": [(5, 200), (7, "200")],
    "text_first": [(7, "200"), (5, 200)],
    "text_only": [(5, "200"), (7, "200")],
    "truth": [(5, True), (7, "true")],
}
LIMIT = 40


class Metrics(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        body = generate_latest()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def asked(port, query):
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=LIMIT) as answer:
        return [float(found["value"][1]) for found in json.load(answer)["data"]["result"]]


def free_port():
    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as taken:
        return taken.server_port


meter = MeterProvider(metric_readers=[PrometheusMetricReader()]).get_meter("messages")
for name, counts in CASES.items():
    counter = meter.create_counter(name)
    for count, status in counts:
        counter.add(count, {"status": status})
told = {
    name: [line for line in generate_latest().decode().splitlines() if line.startswith(f"{name}_total{{")]
    for name in CASES
}
with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as metrics:
    threading.Thread(target=metrics.serve_forever, daemon=True).start()
    job = {"job_name": "app", "static_configs": [{"targets": [f"127.0.0.1:{metrics.server_port}"]}]}
    Path("prometheus.yml").write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    port = free_port()
    command = ["server/usr/bin/prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with Path("log").open("w") as log:
        server = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=log)
    try:
        until = time.monotonic() + LIMIT
        up = []
        while not up and time.monotonic() < until:
            time.sleep(0.2)
            try:
                up = asked(port, "up")
            except urllib.error.URLError:
                pass
        stored = {name: asked(port, f"sum({name}_total)") for name in CASES}
    finally:
        server.terminate()
        server.wait()
    metrics.shutdown()
print(f"up {up}")
labels = []
for name, lines in told.items():
    print(f"{name}: /metrics has {[float(line.split()[-1]) for line in lines]}, Prometheus {stored[name]}")
    labels.append({line.split()[0] for line in lines})
warned = [line for line in Path("log").read_text().splitlines() if "same timestamp" in line]
print(f"warnings in Prometheus's log: {warned}")
as_stated = (
    up == [1]
    and not warned
    and all(len(each) == 1 for each in labels)
    and stored == {"number_first": [5], "text_first": [7], "text_only": [12], "truth": [5]}
)
sys.exit(0 if as_stated else 1)
PY
venv/bin/python show.py
