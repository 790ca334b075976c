"""What the core of gRPC is told: it reads variables, when it is loaded."""

import os

VARIABLES = {
    # It would print notes of its own between our lines.
    "GRPC_VERBOSITY": "ERROR",
    # With its event engine each call goes through a pool of threads more in both processes: twice the
    # changes of thread, and a sixth more of the processor for a small one
    # (findings/grpcios-event-engine-doubles-the-changes-of-thread-of-an-asyncio-call.sh).
    "GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener",
}


def tell() -> None:
    """To be called before anything imports grpc. What the environment says already stands."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
