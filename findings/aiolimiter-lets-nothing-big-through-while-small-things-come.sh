#!/usr/bin/env bash
# aiolimiter 1.3.0: acquire(amount) for much waits as long as others come for little, without end. Those who wait are
# let through by how much they want, the least first, and who comes new goes before all who wait for more.
#
# One would expect of a leaky bucket, and of what is like asyncio's own Semaphore and Lock, that who came first goes
# first, so that the longest wait can be reckoned from what is in front. But those who wait are in a heap ordered by
# amount, and a call that finds room for itself does not look whether anybody waits. So where a limit counts bytes,
# rows or tokens of a model, the big message, batch or prompt stands still as soon as small ones use up the limit,
# while everything looks well: the rate is right, nothing fails, and what is measured of the many is fast. What one
# sender hands over in an order (a picture, then the text about it) goes out in another one. Where all amounts
# are the same, as in its README and in most tests, the order is that in which they came.
#
# Seen, 100 in 2 s, a full bucket: one that wants 95, alone, has it after 1.9 s; while two tasks take 1 at a time it
# does not have it in 6 s, in which they have had 300; 1.9 s after they have stopped, it has. Five that want 50, 40,
# 30, 20 and 10, in this order, have it in the opposite one; five that want 10 each in theirs.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q aiolimiter==1.3.0
cat >"$folder/show.py" <<'PY'
import asyncio
import sys
import time

from aiolimiter import AsyncLimiter


async def full():
    """A limiter of 100 in 2 s that has just let 100 through."""
    limiter = AsyncLimiter(100, 2)
    await limiter.acquire(100)
    return limiter


async def alone():
    limiter, began = await full(), time.monotonic()
    await limiter.acquire(95)
    return time.monotonic() - began


async def beside_small_ones():
    """Whether it had its 95 within 6 s, what the others had meanwhile, and how long it waits when they have stopped."""
    limiter, small = await full(), 0

    async def small_ones():
        nonlocal small
        while True:
            await limiter.acquire(1)
            small += 1

    big = asyncio.create_task(limiter.acquire(95))
    await asyncio.sleep(0)
    others = [asyncio.create_task(small_ones()) for _ in range(2)]
    await asyncio.wait([big], timeout=6)
    had, stopped = big.done(), time.monotonic()
    for other in others:
        other.cancel()
    await big
    return had, small, time.monotonic() - stopped


async def order(*amounts):
    """The places of those who came in this order, as they are let through."""
    limiter, let_through = await full(), []

    async def one(place, amount):
        await limiter.acquire(amount)
        let_through.append(place)

    await asyncio.gather(*(one(place, amount) for place, amount in enumerate(amounts)))
    return let_through


async def main():
    by_itself = await alone()
    had, small, later = await beside_small_ones()
    mixed, same = await order(50, 40, 30, 20, 10), await order(10, 10, 10, 10, 10)
    print(f"95 alone: {by_itself:.1f} s; beside {small} small ones: {had} within 6 s; after them: {later:.1f} s")
    print(f"50, 40, 30, 20, 10: {mixed}; 10 each: {same}")
    return (
        1.5 < by_itself < 5
        and not had and small > 200 and later < 5
        and mixed == [4, 3, 2, 1, 0] and same == [0, 1, 2, 3, 4]
    )  # fmt: skip


sys.exit(0 if asyncio.run(main()) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
