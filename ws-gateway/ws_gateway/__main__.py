"""`python -m ws_gateway serve | version | config validate | config show`"""

import sys
from pathlib import Path

from im_common.runtime.cli import Program, main
from ws_gateway.config import Settings


def serve(settings: Settings) -> int:
    from im_common.runtime import process
    from ws_gateway.server import serve

    return process.run(settings, serve)


if __name__ == "__main__":
    sys.exit(
        main(
            Program(
                name="ws-gateway",
                settings=Settings,
                default_config=Path("etc/ws.yaml"),
                serve=serve,
            )
        )
    )
