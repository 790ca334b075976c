#!/usr/bin/env bash
# circuitbreaker 2.1.3, asyncio: a call that was cancelled, which is what asyncio.timeout() and wait_for() around it do,
# counts as one that succeeded. A service that hangs never opens the circuit, and a single such call closes an open one.
#
# One would expect that a call that ran out of time counts as a failure, or, where the library cannot know who has
# cancelled it, that it counts for nothing. But everything that is not an expected_exception (Exception, unless set) is
# taken for a success, and CancelledError is no Exception: it sets the number of failures back to 0, and after the
# recovery_timeout, when one call is let through to see whether the service is well, it closes the circuit. So against
# the fault for which one has a circuit breaker, a service that takes connections and does not answer, it does nothing:
# each caller waits for its whole limit. And where calls do fail, any client that leaves within its request wipes out
# what was counted so far. A limit inside of the decorated function is an exception like any other, and counts.
#
# Seen, threshold 3: ten calls of which each runs out of time: ten are made, "closed", 0 failures; two that fail and one
# that runs out of time, four times: "closed"; opened by three failures and half-open then, one that runs out of time:
# "closed"; with the limit inside three are made, "open". Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q circuitbreaker==2.1.3
cat >"$folder/show.py" <<'PY'
import asyncio
import sys

from circuitbreaker import CircuitBreaker, CircuitBreakerError


class Service:
    """Behind a circuit breaker of its own; counts the calls that got to it."""

    def __init__(self):
        self.calls = 0
        self.breaker = CircuitBreaker(failure_threshold=3, recovery_timeout=2, name="service")
        self.hangs, self.fails = self.breaker(self.hang), self.breaker(self.fail)
        self.hangs_with_a_limit = self.breaker(self.hang_with_a_limit)

    async def hang(self):
        self.calls += 1
        await asyncio.Event().wait()

    async def hang_with_a_limit(self):
        async with asyncio.timeout(0):
            await self.hang()

    async def fail(self):
        self.calls += 1
        raise ConnectionError

    async def called(self, *functions):
        """The state after these calls, each with 50 ms, and how many got to the service."""
        before = self.calls
        for function in functions:
            try:
                async with asyncio.timeout(0.05):
                    await function()
            except (TimeoutError, ConnectionError, CircuitBreakerError):
                pass
        return self.breaker.state, self.calls - before


async def main():
    out_of_time, mixed, tried_again, inside = Service(), Service(), Service(), Service()
    found = {
        "out of time": (*await out_of_time.called(*[out_of_time.hangs] * 10), out_of_time.breaker.failure_count),
        "two that fail, one out of time": await mixed.called(*[mixed.fails, mixed.fails, mixed.hangs] * 4),
        "three that fail": await tried_again.called(*[tried_again.fails] * 4),
        "the limit inside": await inside.called(*[inside.hangs_with_a_limit] * 10),
    }
    await asyncio.sleep(2.2)
    found["later"] = tried_again.breaker.state, await tried_again.called(tried_again.hangs)
    for name, what in found.items():
        print(f"{name}: {what}")
    return list(found.values()) == [
        ("closed", 10, 0),
        ("closed", 12),
        ("open", 3),
        ("open", 3),
        ("half_open", ("closed", 1)),
    ]


sys.exit(0 if asyncio.run(main()) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
