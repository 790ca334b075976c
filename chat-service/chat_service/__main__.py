"""`python -m chat_service serve | migrate | version | config … | messages expire`"""

import argparse
import sys
from pathlib import Path

from chat_service.config import Settings
from im_common.runtime.cli import Command, Program, main


def serve(settings: Settings) -> int:
    from chat_service.server import serve
    from im_common.runtime import process

    return process.run(settings, serve)


def messages(settings: Settings, options: argparse.Namespace) -> int:
    from chat_service.admin import expire

    return expire(settings, options.days)


def _messages_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("expire",))
    parser.add_argument(
        "--days", type=int, metavar="N", help="keep this many (default: RetentionDays)"
    )


if __name__ == "__main__":
    sys.exit(
        main(
            Program(
                name="chat-service",
                settings=Settings,
                default_config=Path("etc/chat.yaml"),
                serve=serve,
                migrations=Path(__file__).parent / "migrations",
                extra={"messages": Command("remove old messages", messages, _messages_arguments)},
            )
        )
    )
