"""`python -m auth_service serve | migrate | version | config … | keys init, rotate, list`"""

import argparse
import sys
from pathlib import Path

from auth_service.config import Settings
from im_common.runtime.cli import Command, Program, main


def serve(settings: Settings) -> int:
    from im_common.domain.key_file import KeyFileError, read_keys

    try:
        read_keys(Path(settings.keys.file))
    except KeyFileError as error:
        print(f"auth-service: {error}", file=sys.stderr)  # noqa: T201
        return 2
    from auth_service.server import serve
    from im_common.runtime import process

    return process.run(settings, serve)


def keys(settings: Settings, options: argparse.Namespace) -> int:
    from auth_service.keys import run_command

    return run_command(options.what, settings)


def _keys_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("init", "rotate", "list"))


if __name__ == "__main__":
    sys.exit(
        main(
            Program(
                name="auth-service",
                settings=Settings,
                default_config=Path("etc/auth.yaml"),
                serve=serve,
                migrations=Path(__file__).parent / "migrations",
                extra={"keys": Command("make, rotate or list signing keys", keys, _keys_arguments)},
            )
        )
    )
