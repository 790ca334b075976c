"""`python -m user_service serve | migrate | version | config …`"""

import sys
from pathlib import Path

from im_common.runtime.cli import Program, main
from user_service.config import Settings


def serve(settings: Settings) -> int:
    from im_common.runtime import process
    from user_service.server import serve

    return process.run(settings, serve)


if __name__ == "__main__":
    sys.exit(
        main(
            Program(
                name="user-service",
                settings=Settings,
                default_config=Path("etc/user.yaml"),
                serve=serve,
                migrations=Path(__file__).parent / "migrations",
            )
        )
    )
