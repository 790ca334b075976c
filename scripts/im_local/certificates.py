"""Certificates for servers on this machine, of an authority of their own."""

import datetime
import ipaddress
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from im_local.files import FileLock

# As RpcTls.ServerName has it.
_SERVICES = "im.internal"
_LASTS = datetime.timedelta(days=365)


@dataclass(frozen=True)
class Certificates:
    """Files in PEM; those in `folder` are the caller's alone to read."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def both(self, name: str) -> Path:
        """The key and, after it, the certificate."""
        return self.folder / f"{name}.both.pem"


def certificates_once(folder: Path) -> Certificates:
    """Those of `server` (127.0.0.1, localhost; also a client to its like), of the client `im`, and of
    `service`, which our processes show each other; made first if they are not there."""
    with FileLock(folder.with_name(f"{folder.name}.lock"), wait=True):
        if not folder.exists():
            # Beside its place and moved there whole, so that a broken start is begun anew.
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(mode=0o700)
            make_certificates(part)
            part.rename(folder)
    return Certificates(folder)


def make_certificates(folder: Path) -> Certificates:
    """New ones, of a new authority, in place of those that are there."""
    made = Certificates(folder)
    authority_key, authority = _key(), _name("im test authority")
    ca = (
        _builder(authority, authority, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    _write(made.ca, pem(ca))
    # As Python 3.13 demands it.
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    for name in ("server", "im", "service"):
        key = _key()
        certificate = (
            _builder(_name(name), authority, key)
            .add_extension(_names(name), critical=False)
            .add_extension(_usage(name), critical=False)
            .add_extension(signer, critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        _write(made.certificate(name), pem(certificate))
        _write(made.key(name), key_pem(key))
        _write(made.both(name), key_pem(key) + pem(certificate))
    return made


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _LASTS)
    )


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _names(name: str) -> x509.SubjectAlternativeName:
    if name == "service":
        return x509.SubjectAlternativeName([x509.DNSName(_SERVICES)])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    return x509.SubjectAlternativeName([x509.DNSName("localhost"), address])


def _usage(name: str) -> x509.ExtendedKeyUsage:
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    return x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.SERVER_AUTH, *usages] if name != "im" else usages
    )


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
