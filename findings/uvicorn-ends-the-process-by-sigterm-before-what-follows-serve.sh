#!/usr/bin/env bash
# uvicorn 0.54.0: after SIGTERM it shuts down in good order, and then kills the process by the same signal: nothing
# behind `await server.serve()` or uvicorn.run() runs, no `finally`, no `async with` around it, no atexit.
#
# One would expect serve() to return when the server has ended, as it does when should_exit tells it to, and as it seems
# to do when one tries it with Ctrl-C: there all of that runs, and KeyboardInterrupt comes at the end. But uvicorn puts
# back the handlers that it found, and raises the signals that it had caught once more. For SIGTERM it had found the
# system's default, which ends the process there and then. SIGTERM is what Kubernetes, systemd and `docker stop` send,
# Ctrl-C what a developer does. So a program that has uvicorn as one part (beside a consumer, a producer, a pool of
# connections in one main()) loses with each deployment what its `finally` would have flushed: messages that wait in a
# producer, a batch of spans, the last lines of a log; and its locks and registrations stay until they run out. Only the
# application's lifespan is run. To override Server.capture_signals(), or to set a handler of one's own for SIGTERM
# before serve(), has the rest run, too.
#
# Seen, `try: await server.serve() finally: ...` under asyncio.run(): SIGINT: lifespan, serve() returned, finally,
# atexit, then the exit by signal 2; SIGTERM: lifespan, then the exit by signal 15.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q uvicorn==0.54.0
cat >"$folder/program.py" <<'PY'
import asyncio
import atexit
import signal

import uvicorn


def tell(what):
    print(what, flush=True)


async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            tell("lifespan")
            await send({"type": "lifespan.shutdown.complete"})
            return


async def ready(server):
    while not server.started:
        await asyncio.sleep(0.05)
    tell("ready")


async def main():
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    waiting = asyncio.create_task(ready(server))
    try:
        await server.serve()
        tell("serve() returned")
    finally:
        await waiting
        tell("finally")


atexit.register(tell, "atexit")
# As it is in a terminal; a shell that starts something in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
asyncio.run(main())
PY
cat >"$folder/show.py" <<'PY'
import signal
import subprocess
import sys


def ended(program, by):
    """What the program still did, and its exit code."""
    child = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(by)
    rest, _ = child.communicate(timeout=20)
    done = rest.split("\n")[:-1]
    print(f"{by.name}: {', '.join(done)}; exit code {child.returncode}")
    return done, child.returncode


by_hand = ended(sys.argv[1], signal.SIGINT)
by_others = ended(sys.argv[1], signal.SIGTERM)
whole = ["lifespan", "serve() returned", "finally", "atexit"]
sys.exit(0 if by_hand == (whole, -signal.SIGINT) and by_others == (["lifespan"], -signal.SIGTERM) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py" "$folder/program.py"
