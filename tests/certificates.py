"""Certificates made on the spot, with an authority of their own that a test's clients take at its word."""

import os
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from web.certificates import CertificateFiles

LOCALHOST = ("localhost", "127.0.0.1")


class Authority:
    """Signs certificates, and writes each with its key into two files."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.files = CertificateFiles(folder / "certificate.pem", folder / "key.pem")
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority of the tests")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        self.certificate = self._begun(self._name, self._key.public_key(), timedelta(days=1)).add_extension(
            constraints, critical=True
        )
        self._pem = _pem(self.certificate.sign(self._key, hashes.SHA256()))

    def trusted(self) -> ssl.SSLContext:
        """Return a client's context that believes this authority alone."""
        return ssl.create_default_context(cadata=self._pem.decode())

    def made(self, *hosts: str, holds: timedelta = timedelta(days=1)) -> tuple[bytes, bytes]:
        """Return a certificate for these hosts, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [_named(host) for host in hosts or LOCALHOST]
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A server of the tests")])
        begun = self._begun(name, key.public_key(), holds)
        certificate = begun.add_extension(x509.SubjectAlternativeName(names), critical=False)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _pem(certificate.sign(self._key, hashes.SHA256())), pem

    def write(self, *hosts: str, holds: timedelta = timedelta(days=1)) -> CertificateFiles:
        """Make a certificate and put it where the server reads it, in the way in which renewals do."""
        certificate, key = self.made(*hosts, holds=holds)
        put(self.files.certificate, certificate)
        put(self.files.key, key)
        return self.files

    def _begun(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, holds: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + holds)
        )


def put(path: Path, content: bytes) -> None:
    """Put a file in another's place, whole."""
    fresh = path.with_suffix(".fresh")
    fresh.write_bytes(content)
    fresh.chmod(0o600)
    os.replace(fresh, path)  # noqa: PTH105


def _named(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
