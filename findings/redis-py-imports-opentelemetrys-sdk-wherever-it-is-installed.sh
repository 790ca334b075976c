#!/usr/bin/env bash
# redis 8.1.0: importing it imports OpenTelemetry's SDK for metrics, when that is installed for whatever
# reason: thirty-five modules, though nobody has turned redis-py's own metrics on.
#
# One would expect that a client's optional metrics are imported by who asks for them
# (get_observability_instance().init(...)), as that function's own imports are. But
# redis/observability/providers.py tries "from opentelemetry.sdk.metrics import MeterProvider" when it is
# imported, and "import redis" imports it. So a process that keeps OpenTelemetry out until it is
# configured has half of it all the same, in each process that talks to Redis, and adding the SDK to an
# environment slows the start of programs that never use it.
#
# Exits 1 when that is no longer so. Needs python3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q redis==8.1.0 opentelemetry-sdk==1.45.2
cat >"$folder/show.py" <<'PY'
import sys

import redis

from redis.observability.providers import get_observability_instance

modules = [name for name in sys.modules if name.startswith("opentelemetry.sdk")]
manager = get_observability_instance().get_provider_manager()
print(f"redis {redis.__version__}: its metrics are {'on' if manager else 'off'};"
      f" modules of OpenTelemetry's SDK that it has imported: {len(modules)}")
raise SystemExit(0 if manager is None and len(modules) > 20 else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
