#!/usr/bin/env bash
# pyrate-limiter 4.5.1, asyncio: while one caller waits for its own limit, every other caller of the same Limiter waits
# with it, also of keys that have used nothing, and also those who said that they do not want to wait.
#
# One would expect what a limiter with a bucket for each key is for: that a busy user waits and the others do not, as
# it is for threads, where the lock is let go during the wait. But try_acquire_async() holds one asyncio.Lock for the
# whole Limiter from its beginning to its end, the sleep for the bucket included. So with a limit for each user one who
# sends too quickly stops all of a process for as long as his own limit lasts; blocking=False, documented to "return
# immediately", comes back after seconds; and with a timeout a user who has sent nothing is refused for somebody else's
# limit. The limits add up, too: as many calls get through as the slowest key allows. One Limiter for each key, or
# blocking=False everywhere and a sleep of one's own, keeps them apart.
#
# Seen, two calls each 3 s for each key, "ann" waiting for her third: bob, his first: done after 3.0 s, with threads at
# once; carol, her first with blocking=False: True after 3.0 s; dave, his first with timeout=1: False after 1.0 s.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pyrate-limiter==4.5.1
cat >"$folder/show.py" <<'PY'
import asyncio
import sys
import time

from pyrate_limiter import BucketFactory, Duration, InMemoryBucket, Limiter, MonotonicClock, Rate, RateItem


class EachKey(BucketFactory):
    """A bucket for each key: two calls in three seconds."""

    def __init__(self):
        self.buckets, self.clock = {}, MonotonicClock()

    def wrap_item(self, name, weight=1):
        return RateItem(name, self.clock.now(), weight=weight)

    def get(self, item):
        if item.name not in self.buckets:
            self.buckets[item.name] = self.create(InMemoryBucket, [Rate(2, Duration.SECOND * 3)])
        return self.buckets[item.name]


async def by_asyncio(limiter, key, **how):
    return await limiter.try_acquire_async(key, **how)


async def by_a_thread(limiter, key, **how):
    return await asyncio.to_thread(limiter.try_acquire, key, **how)


async def timed(acquire, limiter, key, **how):
    started = time.monotonic()
    said = await acquire(limiter, key, **how)
    taken = time.monotonic() - started
    print(f"{acquire.__name__}: {key} {how or ''} {said} after {taken:.1f} s")
    return said, taken


async def beside_one_who_waits(acquire):
    limiter = Limiter(EachKey())
    for _ in range(2):
        await acquire(limiter, "ann")
    waiting = asyncio.create_task(timed(acquire, limiter, "ann"))
    await asyncio.sleep(0.1)
    others = await asyncio.gather(
        timed(acquire, limiter, "bob"),
        timed(acquire, limiter, "carol", blocking=False),
        timed(acquire, limiter, "dave", timeout=1),
    )
    await waiting
    return others


async def main():
    bob, carol, dave = await beside_one_who_waits(by_asyncio)
    threads = await beside_one_who_waits(by_a_thread)
    as_stated = (
        bob[0] and bob[1] > 2 and carol[0] and carol[1] > 2 and not dave[0]
        and all(said and taken < 0.5 for said, taken in threads)
    )  # fmt: skip
    return 0 if as_stated else 1


sys.exit(asyncio.run(main()))
PY
"$folder/venv/bin/python" "$folder/show.py"
