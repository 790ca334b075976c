"""`python -m user_service serve | migrate | version | config … | users disable, enable`"""

import argparse
import sys
from pathlib import Path

from im_common.runtime.cli import Command, Program, main
from user_service.config import Settings


def serve(settings: Settings) -> int:
    from im_common.runtime import process
    from user_service.server import serve

    return process.run(settings, serve)


def users(settings: Settings, options: argparse.Namespace) -> int:
    from user_service.admin import run_command

    return run_command(settings, options.user, disabled=options.what == "disable")


def _users_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("disable", "enable"))
    parser.add_argument("user", metavar="USER", help="a user id or a username")


if __name__ == "__main__":
    sys.exit(
        main(
            Program(
                name="user-service",
                settings=Settings,
                default_config=Path("etc/user.yaml"),
                serve=serve,
                migrations=Path(__file__).parent / "migrations",
                extra={
                    "users": Command("shut an account or open it again", users, _users_arguments)
                },
            )
        )
    )
