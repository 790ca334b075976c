"""`python -m chat_service serve | migrate | version | config …`"""

import sys
from pathlib import Path

from chat_service.config import Settings
from im_common.runtime.cli import Program, main


def serve(settings: Settings) -> int:
    from chat_service.server import serve
    from im_common.runtime import process

    return process.run(settings, serve)


if __name__ == "__main__":
    sys.exit(
        main(
            Program(
                name="chat-service",
                settings=Settings,
                default_config=Path("etc/chat.yaml"),
                serve=serve,
                migrations=Path(__file__).parent / "migrations",
            )
        )
    )
