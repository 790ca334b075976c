#!/usr/bin/env bash
# cachebox 6.2.10 (cached) and cashews 7.6.0 (cache), as their decorators are by default, asyncio: when the caller that
# fetches a value is cancelled, with cashews any that waits for it, all the others get CancelledError as well.
#
# One would expect of a protection from stampedes, on by default in both, that one caller fetches and the others get the
# value, and if the first one leaves (a time limit of its own, a client that has gone) that it is fetched on for those
# who stay, as by async-lru, or by one of them, as by anyio's lru_cache. But cachebox hands the first one's exception
# to all who wait, whatever it is, and cashews has all of them await one task, which the end of any of them cancels. So
# one impatient caller ends the requests of all others, whose limits are far away. And CancelledError is no Exception:
# `except Exception` and retries do not see it, a server takes it for a client that has left, and a TaskGroup takes a
# child that ends by it for one that was meant to: it ends without an error, and a result is missing.
#
# Seen, four callers for one value, the first cancelled while it fetches: with cachebox and cashews the other three are
# cancelled, and a TaskGroup of theirs ends well; with async-lru 2.4.0 and anyio 4.16.0 they get the value. The last one
# cancelled: with cashews all are, with the others the three get the value. Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q cachebox==6.2.10 cashews==7.6.0 async-lru==2.4.0 anyio==4.16.0
cat >"$folder/show.py" <<'PY'
import asyncio
import itertools
import sys

import anyio.functools
import async_lru
import cachebox
import cashews


async def beside_one_who_leaves(cached, leaving):
    """How three of four callers end, in a group that ends well, when the one at this place leaves."""
    fetch_on = asyncio.Event()

    @cached
    async def profile(user):
        await fetch_on.wait()
        return f"profile of {user}"

    callers = []
    async with asyncio.TaskGroup() as group:
        for place in range(4):
            make = asyncio.create_task if place == leaving else group.create_task
            callers.append(make(profile("ann")))
        await until_all_wait()
        callers[leaving].cancel()
        await until_all_wait()
        fetch_on.set()
    await asyncio.wait(callers)
    others = callers[:leaving] + callers[leaving + 1 :]
    return ["cancelled" if task.cancelled() else task.result() for task in others]


async def until_all_wait():
    """All here goes on by itself: there is no input, output or clock that it waits for."""
    for _ in range(50):
        await asyncio.sleep(0)


async def main():
    cashews.cache.setup("mem://")
    caches = {
        "cachebox": lambda: cachebox.cached(cachebox.LRUCache(100)),
        "cashews": lambda: cashews.cache(ttl="1m", key=f"{next(names)}:{{user}}"),
        "async-lru": lambda: async_lru.alru_cache(maxsize=100),
        "anyio": lambda: anyio.functools.lru_cache(maxsize=100),
    }
    names = itertools.count()
    found = {
        name: [await beside_one_who_leaves(cached(), leaving) for leaving in (0, 3)] for name, cached in caches.items()
    }
    for name, (first, last) in found.items():
        print(f"{name}: the first leaves: {first}; the last leaves: {last}")
    await cashews.cache.close()
    cancelled, value = ["cancelled"] * 3, ["profile of ann"] * 3
    return found == {
        "cachebox": [cancelled, value],
        "cashews": [cancelled, cancelled],
        "async-lru": [value, value],
        "anyio": [value, value],
    }


sys.exit(0 if asyncio.run(main()) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
