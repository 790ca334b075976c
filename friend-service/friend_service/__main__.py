"""`python -m friend_service serve | migrate | version | config validate | config show`"""

import sys
from pathlib import Path

from friend_service.config import Settings
from im_common.runtime.cli import Program, main


def serve(settings: Settings) -> int:
    from friend_service.server import serve
    from im_common.runtime import process

    return process.run(settings, serve)


if __name__ == "__main__":
    sys.exit(
        main(
            Program(
                name="friend-service",
                settings=Settings,
                default_config=Path("etc/friend.yaml"),
                serve=serve,
                migrations=Path(__file__).parent / "migrations",
            )
        )
    )
