#!/usr/bin/env bash
# tenacity 9.2.1, one AsyncRetrying for several calls (`await retrying(send, message)`), with a coroutine as its
# predicate: a call that failed is not tried again and gives None, without an error. One that succeeded is done twice.
#
# One would expect each call to be tried by itself, as with a predicate that is a plain function and by the decorator,
# which copies its settings for each call. A call has a state of its own here too, and predicates may be coroutines.
# But the list of what is to be done next is kept for each thread, so that all tasks have one, and each begins it anew.
# Who waits in its predicate finds somebody else's list when it goes on: it appends there what it decided, comes to
# the end of its own, and returns what the last entry of that gave, nothing. What it appended is done by the other one,
# which sends again what it has sent. So `await retrying(store, message)` says that all went well while nothing is
# stored, as soon as two calls are under way; one at a time, as in tests, it is right. It is more than what is known of
# `async for attempt in retrying`, whose count of tries is shared. A copy for each call keeps them apart.
#
# Seen, six messages at once, at most three tries each, those with an even number fail always: 0 to 4 give None after
# one try, 5 is sent twice; one after the other, with copies, with a plain predicate and with the decorator 0, 2 and 4
# raise after three tries, and 1, 3 and 5 are sent once. Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tenacity==9.2.1
cat >"$folder/show.py" <<'PY'
import asyncio
import sys
from collections import Counter

from tenacity import AsyncRetrying, retry, stop_after_attempt

MESSAGES = range(6)


class Refused(Exception):
    pass


async def by_a_coroutine(state):
    """Worth another try? Whoever asks a service, a cache or a lock for it waits."""
    await asyncio.sleep(0)
    return isinstance(state.outcome.exception(), Refused)


def by_a_function(state):
    return isinstance(state.outcome.exception(), Refused)


def settings(predicate):
    return {"retry": predicate, "stop": stop_after_attempt(3), "reraise": True}


async def outcome(call):
    try:
        return await call
    except Refused:
        return "raised"


async def tried(caller, *, at_once=True):
    """What each message's call gave, and how often it was made."""
    tries = Counter()

    async def send(message):
        tries[message] += 1
        await asyncio.sleep(0)
        if message % 2 == 0:
            raise Refused
        return "sent"

    call = caller(send)
    if at_once:
        given = await asyncio.gather(*(outcome(call(message)) for message in MESSAGES))
    else:
        given = [await outcome(call(message)) for message in MESSAGES]
    return list(zip(given, (tries[message] for message in MESSAGES)))


async def main():
    shared = AsyncRetrying(**settings(by_a_coroutine))
    plain = AsyncRetrying(**settings(by_a_function))

    def shared_by(retrying):
        return lambda send: lambda message: retrying(send, message)

    found = await tried(shared_by(shared))
    others = {
        "one after the other": await tried(shared_by(shared), at_once=False),
        "a copy for each call": await tried(lambda send: lambda message: shared.copy()(send, message)),
        "a plain predicate": await tried(shared_by(plain)),
        "the decorator": await tried(retry(**settings(by_a_coroutine))),
    }
    for name, given in {"shared by tasks": found, **others}.items():
        print(f"{name}: {given}")
    right = [("raised", 3), ("sent", 1)] * 3
    return found == [(None, 1)] * 5 + [("sent", 2)] and all(given == right for given in others.values())


sys.exit(0 if asyncio.run(main()) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
