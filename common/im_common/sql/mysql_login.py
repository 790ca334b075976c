"""How a connection to MySQL is opened: who logs in, and what of TLS there must be."""

from __future__ import annotations

from typing import Any

from im_common.runtime.sections import DbConf
from im_common.runtime.tls import client_context


def login_arguments(conf: DbConf) -> dict[str, Any]:
    """For ``asyncmy.connect``. Raises ValueError when a file of the settings cannot be used."""
    # The driver would write a text as Latin-1.
    arguments: dict[str, Any] = {"password": conf.password.get_secret_value().encode()}
    if (context := client_context(conf, "DB")) is not None:
        arguments["ssl"] = context
    return arguments
