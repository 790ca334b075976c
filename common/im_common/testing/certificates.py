"""Certificates that a test makes for itself."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from im_common.runtime.sections import RpcTlsConf
from im_local.certificates import key_pem, pem

_HOUR = datetime.timedelta(hours=1)
PEER_NAME = RpcTlsConf().server_name


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Who signs certificates, for an hour."""

    def __init__(self, name: str = "an authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        builder = _builder(self._name, self._name, self._key, _HOUR)
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.pem = pem(builder.sign(self._key, hashes.SHA256()))

    def issue(self, *names: str, lasts: datetime.timedelta = _HOUR) -> Pair:
        """For these DNS names (that of our services when there is none); it has run out when ``lasts``
        is negative."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name("a service"), self._name, key, lasts)
        builder = builder.add_extension(
            _alternatives([x509.DNSName(name) for name in names or (PEER_NAME,)]), critical=False
        )
        return Pair(pem(builder.sign(self._key, hashes.SHA256())), key_pem(key))


@dataclass(frozen=True)
class PeerFolder:
    """The files of one process, to be replaced."""

    folder: Path

    @property
    def conf(self) -> RpcTlsConf:
        return RpcTlsConf(
            ca_cert_file=str(self.folder / "ca.pem"),
            cert_file=str(self.folder / "cert.pem"),
            cert_key_file=str(self.folder / "key.pem"),
        )

    @property
    def variables(self) -> dict[str, str]:
        """That name them to a process."""
        conf = self.conf
        return {
            "IM_RPC_TLS__CA_CERT_FILE": conf.ca_cert_file,
            "IM_RPC_TLS__CERT_FILE": conf.cert_file,
            "IM_RPC_TLS__CERT_KEY_FILE": conf.cert_key_file,
        }

    def put(self, *, trusted: Sequence[Authority] = (), pair: Pair | None = None) -> PeerFolder:
        """Writes what is given, each file whole at once."""
        contents = {"ca.pem": b"".join(authority.pem for authority in trusted)}
        if pair is not None:
            contents |= {"cert.pem": pair.certificate, "key.pem": pair.key}
        for name, content in contents.items():
            if content:
                new = self.folder / f"{name}.new"
                new.write_bytes(content)
                new.rename(self.folder / name)
        return self


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Of `localhost` and 127.0.0.1, signed by itself, for an hour: its file, and that of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("localhost")
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        _builder(name, name, key, _HOUR)
        .add_extension(_alternatives([x509.DNSName("localhost"), address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(pem(certificate))
    key_file.write_bytes(key_pem(key))
    return cert_file, key_file


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    lasts: datetime.timedelta,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=2))
        .not_valid_after(now + lasts)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternatives(names: list[x509.GeneralName]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(names)
