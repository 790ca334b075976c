"""`python -m group_service serve | migrate | version | config validate | config show`"""

import sys
from pathlib import Path

from group_service.config import Settings
from im_common.runtime.cli import Program, main


def serve(settings: Settings) -> int:
    from group_service.server import serve
    from im_common.runtime import process

    return process.run(settings, serve)


if __name__ == "__main__":
    sys.exit(
        main(
            Program(
                name="group-service",
                settings=Settings,
                default_config=Path("etc/group.yaml"),
                serve=serve,
                migrations=Path(__file__).parent / "migrations",
            )
        )
    )
