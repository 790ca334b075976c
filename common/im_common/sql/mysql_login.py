"""How a connection to MySQL is opened: who logs in, and what of TLS there must be."""

from __future__ import annotations

import ssl
from typing import Any

from im_common.runtime.config import DbConf


def login_arguments(conf: DbConf) -> dict[str, Any]:
    """For ``asyncmy.connect``. Raises ValueError when a file of the settings cannot be used."""
    # The driver would write a text as Latin-1.
    arguments: dict[str, Any] = {"password": conf.password.get_secret_value().encode()}
    if conf.tls != "off":
        arguments["ssl"] = _context(conf)
    return arguments


def _context(conf: DbConf) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        if conf.tls_ca_file:
            # No other one than this.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cafile=conf.tls_ca_file)
        if conf.tls_cert_file:
            context.load_cert_chain(conf.tls_cert_file, conf.tls_key_file)
    except (OSError, ssl.SSLError) as error:
        files = [conf.tls_ca_file, conf.tls_cert_file, conf.tls_key_file]
        raise ValueError(f"DB.Tls…File ({', '.join(filter(None, files))}): {error}") from error
    context.check_hostname = conf.tls == "verify_identity"
    if conf.tls == "required":
        context.verify_mode = ssl.CERT_NONE
    return context
