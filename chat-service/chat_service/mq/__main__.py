"""`python -m chat_service.mq serve | version | config …`"""

import sys
from pathlib import Path

from chat_service.mq.config import Settings
from im_common.runtime.cli import Program, main


def serve(settings: Settings) -> int:
    from chat_service.mq.worker import serve
    from im_common.runtime import process

    return process.run(settings, serve)


if __name__ == "__main__":
    sys.exit(
        main(
            Program(
                name="chat-mq",
                settings=Settings,
                default_config=Path("etc/chat-mq.yaml"),
                serve=serve,
            )
        )
    )
