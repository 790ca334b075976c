"""`python -m api_gateway serve | version | config validate | config show`"""

import sys
from pathlib import Path

from api_gateway.config import Settings
from im_common.runtime.cli import Program, main


def serve(settings: Settings) -> int:
    from api_gateway import workers

    return workers.run(settings)


if __name__ == "__main__":
    sys.exit(
        main(
            Program(
                name="api-gateway",
                settings=Settings,
                default_config=Path("etc/api.yaml"),
                serve=serve,
            )
        )
    )
