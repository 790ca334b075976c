"""`python -m chat_service.mq serve | version | config validate | config show`"""

import sys
from pathlib import Path

from chat_service.mq.config import Settings
from im_common.cli import Program, main


def serve(settings: Settings) -> int:
    from chat_service.mq.consumer import serve
    from im_common import process

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
