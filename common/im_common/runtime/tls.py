"""TLS to a server, as the settings describe it."""

from __future__ import annotations

import ssl

from im_common.runtime.sections import TlsSection


def client_context(conf: TlsSection, section: str) -> ssl.SSLContext | None:
    """None when TLS is off. The files are read at each call, so that who connects anew has new ones.

    Raises:
        ValueError: a file cannot be used; it names the settings of ``section`` (`DB`).
    """
    if conf.tls == "off":
        return None
    files = (conf.tls_ca_file, conf.tls_cert_file, conf.tls_key_file)
    context = strict_context(*files, setting=f"{section}.Tls…File")
    context.check_hostname = conf.tls == "verify_identity"
    if conf.tls == "required":
        context.verify_mode = ssl.CERT_NONE
    return context


def strict_context(ca_file: str, cert_file: str, key_file: str, *, setting: str) -> ssl.SSLContext:
    """One that trusts who signs by ``ca_file`` alone (when empty, whom the system trusts), and shows
    the certificate when there is one.

    Raises:
        ValueError: a file cannot be used; it names ``setting``.
    """
    context = ssl.create_default_context()
    try:
        if ca_file:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cafile=ca_file)
        if cert_file:
            context.load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(filter(None, (ca_file, cert_file, key_file)))
        raise ValueError(f"{setting} ({files}): {error}") from error
    return context
