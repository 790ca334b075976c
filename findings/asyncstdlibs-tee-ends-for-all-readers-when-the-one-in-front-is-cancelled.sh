#!/usr/bin/env bash
# asyncstdlib 3.14.0, tee(generator, n, lock=asyncio.Lock()): when the reader that is in front is cancelled, the others
# get what was read so far and then the end, as if the source had no more. Nothing is raised.
#
# One would expect that the others read on, as its children are separate iterators that "may advance separately", or at
# least an error: as many readers as there are clients are what one has a tee for, and one of them leaves. The lock is
# what makes it safe for several tasks, says its documentation. But whoever is in front awaits the source within his
# own call, so that his cancellation ends the source's generator, which is how generators are, and a generator that has
# ended tells the next one who asks StopAsyncIteration. So of a stream that is sent to several (a model's tokens, a
# query's rows, a file) one whose client has gone, or that ran out of time, cuts off all others: their answers are
# shorter, and complete as far as anybody can tell. Which reader is in front is by chance, so it happens sometimes. If
# another one is cancelled, or the source is an object with __anext__ instead of a generator, the others get all.
#
# Seen, a source of six, three readers, one cancelled while the third item is awaited: the one in front, [0, 1] for both
# others; one that waits for it, [0, 1, 2, 3, 4, 5]; the one in front, the source an object: [0, 1, 2, 3, 4, 5].
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q asyncstdlib==3.14.0
cat >"$folder/show.py" <<'PY'
import asyncio
import sys

import asyncstdlib


class Source:
    """Six items, of which the third comes only when it is let go."""

    def __init__(self):
        self.asked, self.go_on, self.next = asyncio.Event(), asyncio.Event(), 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.next == 6:
            raise StopAsyncIteration
        if self.next == 2:
            self.asked.set()
            await self.go_on.wait()
        self.next += 1
        return self.next - 1


async def generator(source):
    async for item in source:
        yield item


async def read(items):
    return [item async for item in items]


async def others_get(source, iterable, leaving):
    """What two of three readers get, when the one at this place leaves; the first one is in front."""
    children = asyncstdlib.tee(iterable, 3, lock=asyncio.Lock())
    readers = [asyncio.create_task(read(child)) for child in children]
    await source.asked.wait()
    readers[leaving].cancel()
    await asyncio.wait([readers[leaving]])
    source.go_on.set()
    return [await reader for reader in readers[:leaving] + readers[leaving + 1 :]]


async def main():
    first, second, third = Source(), Source(), Source()
    in_front = await others_get(first, generator(first), 0)
    behind = await others_get(second, generator(second), 2)
    an_object = await others_get(third, third, 0)
    print(f"the one in front leaves: {in_front}; one behind: {behind}; in front, no generator: {an_object}")
    everything = [[0, 1, 2, 3, 4, 5]] * 2
    return in_front == [[0, 1]] * 2 and behind == an_object == everything


sys.exit(0 if asyncio.run(main()) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
