"""`python -m chat_service.mq serve | version | config … | dead-letters list, show, replay`"""

import argparse
import sys
from pathlib import Path

from chat_service.mq.config import Settings
from im_common.runtime.cli import Command, Program, main


def serve(settings: Settings) -> int:
    from chat_service.mq.worker import serve
    from im_common.runtime import process

    return process.run(settings, serve)


def dead_letters(settings: Settings, options: argparse.Namespace) -> int:
    from chat_service.mq.dead_letters import run_command

    return run_command(settings, options.what, options.positions)


def _dead_letters_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("list", "show", "replay"))
    parser.add_argument("positions", nargs="*", metavar="POSITION", help="as list says, or all")


if __name__ == "__main__":
    sys.exit(
        main(
            Program(
                name="chat-mq",
                settings=Settings,
                default_config=Path("etc/chat-mq.yaml"),
                serve=serve,
                extra={
                    "dead-letters": Command(
                        "records that could not be worked on", dead_letters, _dead_letters_arguments
                    )
                },
            )
        )
    )
