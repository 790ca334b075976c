"""The files with which services show each other who they are, read and tried.

Whether they are of use is found out as a peer would: by a handshake, in memory, with oneself.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from im_common.runtime.config import variable_name
from im_common.runtime.sections import RpcTlsConf


@dataclass(frozen=True, slots=True)
class PeerFiles:
    """What is in them, PEM; ``certificate`` and ``key`` are empty for who only checks others."""

    ca: bytes
    certificate: bytes
    key: bytes


def read_peer_files(conf: RpcTlsConf) -> tuple[PeerFiles, float]:
    """What is in the files now, and when the certificate runs out, in Unix time (0 without one).

    Raises:
        ValueError: a file cannot be read or used, they do not fit together, or a peer with the same
            files would refuse the certificate; it names the setting.
    """
    files = _read(conf)
    peer = _context(ssl.PROTOCOL_TLS_CLIENT, conf)
    expires = 0.0
    if conf.cert_file:
        server = _context(ssl.PROTOCOL_TLS_SERVER, conf)
        server.verify_mode = ssl.CERT_REQUIRED if conf.client_certs else ssl.CERT_NONE
        try:
            expires = _shake_hands(server, peer, conf.server_name)
        except ssl.SSLCertVerificationError as error:
            raise _wrong("cert_file", conf.cert_file, error.verify_message) from error
        except (ssl.SSLError, ValueError) as error:
            raise _wrong("cert_file", conf.cert_file, str(error)) from error
    if _read(conf) != files:
        raise _wrong("cert_file", conf.cert_file, "was replaced while it was read")
    return files, expires


def _read(conf: RpcTlsConf) -> PeerFiles:
    return PeerFiles(
        _content(conf, "ca_cert_file", b"CERTIFICATE"),
        _content(conf, "cert_file", b"CERTIFICATE"),
        _content(conf, "cert_key_file", b"PRIVATE KEY"),
    )


def _content(conf: RpcTlsConf, setting: str, kind: bytes) -> bytes:
    path = getattr(conf, setting)
    if not path:
        return b""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise _wrong(setting, path, error.strerror or str(error)) from error
    if kind + b"-----" not in content:
        raise _wrong(setting, path, f"has no {kind.decode()} in PEM")
    return content


def _context(side: int, conf: RpcTlsConf) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    # As gRPC does: whoever is in the file is trusted, also who was signed by somebody else.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cafile=conf.ca_cert_file)
    except (OSError, ssl.SSLError) as error:
        raise _wrong("ca_cert_file", conf.ca_cert_file, str(error)) from error
    if conf.cert_file:
        try:
            # Nobody is there to be asked for a password.
            context.load_cert_chain(conf.cert_file, conf.cert_key_file, password="")
        except (OSError, ssl.SSLError) as error:
            raise _unfit(conf, error) from error
    return context


def _unfit(conf: RpcTlsConf, error: OSError) -> ValueError:
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return _wrong("cert_key_file", conf.cert_key_file, f"is not the key of {conf.cert_file}")
    both = f"{conf.cert_key_file} (a key without a password) or {conf.cert_file}"
    return _wrong("cert_key_file", both, str(error))


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> float:
    """Until each has checked the other; gives when the server's certificate runs out."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_hostname=name)
    waiting = [asking, server.wrap_bio(to_server, to_client, server_side=True)]
    while waiting:
        for side in list(waiting):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
                waiting.remove(side)
    shown = asking.getpeercert() or {}
    return float(ssl.cert_time_to_seconds(str(shown["notAfter"])))


def _wrong(setting: str, path: str, why: str) -> ValueError:
    place = ("rpc_tls", setting)
    key = "".join(part.capitalize() for part in setting.split("_"))
    return ValueError(f"RpcTls.{key} (variable {variable_name(place)}): {path}: {why}")
