"""Settings of im-admin: those of the services that it needs, by the same names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Protocol

from im_common.runtime.config import PREFIX, ConfigError, Settings, known_variables, load
from im_common.runtime.sections import BusConf, ClientConf, Section

DEFAULT_FILE = Path(__file__).parent / "admin.yaml"
# Where `scripts/up` says how its system is reached, in its data folder.
VARIABLES = "secrets/im-admin.json"
# Nobody waits with an operator, and some answers count much.
_TIMEOUT_MS = 20_000


class KeysConf(Section):
    """The file with the private keys that sign access tokens, for who may change it."""

    file: str = ""


class OperatorSettings(Protocol):
    """What an operator's ways to a system need."""

    @property
    def bus(self) -> BusConf: ...
    @property
    def group(self) -> str: ...
    @property
    def event_group(self) -> str: ...
    @property
    def auth_rpc(self) -> ClientConf: ...
    @property
    def user_rpc(self) -> ClientConf: ...
    @property
    def friend_rpc(self) -> ClientConf: ...
    @property
    def group_rpc(self) -> ClientConf: ...
    @property
    def chat_rpc(self) -> ClientConf: ...
    @property
    def ws_rpc(self) -> ClientConf: ...


class AdminSettings(Settings):
    keys: KeysConf = KeysConf()
    bus: BusConf = BusConf()
    # The groups of chat-mq, as its settings name them.
    group: str = "chat-mq"
    event_group: str = "chat-mq-events"
    auth_rpc: ClientConf = ClientConf(key="auth.rpc", timeout=_TIMEOUT_MS)
    user_rpc: ClientConf = ClientConf(key="user.rpc", timeout=_TIMEOUT_MS)
    friend_rpc: ClientConf = ClientConf(key="friend.rpc", timeout=_TIMEOUT_MS)
    group_rpc: ClientConf = ClientConf(key="group.rpc", timeout=_TIMEOUT_MS)
    chat_rpc: ClientConf = ClientConf(key="chat.rpc", timeout=_TIMEOUT_MS)
    ws_rpc: ClientConf = ClientConf(key="ws.rpc", timeout=_TIMEOUT_MS)


def read_settings(
    file: Path = DEFAULT_FILE,
    data: Path | None = None,
    environ: MutableMapping[str, str] = os.environ,
) -> AdminSettings:
    """The settings that the environment says, or, with ``data``, those of the system that `scripts/up`
    runs on that folder: they take the place of those in ``environ``.

    Raises:
        ConfigError: they cannot be used; the text says which and why.
    """
    if data is not None:
        found = _variables_of(data)
        for name in [name for name in environ if name.upper().startswith(PREFIX)]:
            del environ[name]
        environ.update(found)
    return load(AdminSettings, file, _ours(environ))


def _variables_of(data: Path) -> dict[str, str]:
    file = data / VARIABLES
    try:
        found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"--data {data}: {file}: {error.strerror}; `scripts/up --data {data}` writes it. Where"
            " the services run otherwise, set their variables (IM_INTERNAL_SECRET_FILE and so on)"
        ) from None
    except ValueError:
        raise ConfigError(f"--data {data}: {file}: no JSON") from None
    return found


def _ours(environ: Mapping[str, str]) -> dict[str, str]:
    # In a service's container there are variables of that service, too.
    known = known_variables(AdminSettings)
    return {name: value for name, value in environ.items() if name.upper() in known}
