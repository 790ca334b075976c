"""Where things are: the checkout, its Python, and what a data folder holds."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from im_local.errors import LocalError

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
TOOLS = ROOT / ".tools"
DEFAULT_DATA = ROOT / ".data"


@dataclass(frozen=True)
class DataDir:
    """A data folder. All its paths are absolute, so a child's working directory does not matter."""

    path: Path

    @classmethod
    def at(cls, folder: str | Path) -> "DataDir":
        """Take `folder` as the caller wrote it: a relative one is relative to the caller's folder."""
        return cls(Path(folder).expanduser().absolute())

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def supervisor_pid(self) -> Path:
        return self.path / "supervisor.pid"

    @property
    def ready(self) -> Path:
        return self.path / "ready.json"

    @property
    def infra(self) -> Path:
        return self.path / "infra.yaml"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def secrets(self) -> Path:
        return self.path / "secrets"

    def log(self, name: str) -> Path:
        """The log of the process `name`."""
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """Make the folder, for its owner alone, and those in it that every use needs.

        Raises LocalError when this user cannot have them.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(exist_ok=True)
            self.secrets.mkdir(mode=0o700, exist_ok=True)
        except FileExistsError as error:
            raise self._unfit(f"{error.filename} is no folder") from error
        except OSError as error:
            raise self._unfit(f"{error.filename}: {error.strerror}") from error
        for folder in (self.path, self.logs, self.secrets):
            if not os.access(folder, os.W_OK | os.X_OK):
                raise self._unfit(f"this user may not write to {folder}")

    def _unfit(self, why: str) -> LocalError:
        return LocalError(
            f"The data cannot be in {self.path}: {why}. Choose another folder with --data DIR."
        )
