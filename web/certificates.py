"""The certificate to serve TLS with: two files in PEM, read and looked at; whose they are is the setting's to say."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509


class CertificateRefused(Exception):
    """Two files that no TLS can be served with; the sentence names the file at fault, and nothing that is in it."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the certificate (with those that vouch for it, after it) and its private key are."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return a server's context: TLS 1.2 and later, with forward secrecy. Raises `CertificateRefused`."""
        certificate, key = (_read(path) for path in (self.certificate, self.key))
        _first(certificate, self.certificate)
        if b"PRIVATE KEY-----" not in key:
            raise CertificateRefused(f"{self.key} has no private key in PEM")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Of 1.2 only what has forward secrecy and authenticates what it encrypts; all of 1.3 does.
        context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.certificate, self.key, password=self._no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise CertificateRefused(f"{self.key} is not the key of the certificate {self.certificate}") from error
            raise CertificateRefused(f"{self.certificate} and {self.key} cannot be used: {error.reason}") from error
        except OSError as error:
            raise CertificateRefused(f"{self.key} cannot be read: {error.strerror}") from error
        return context

    def served(self) -> "Served":
        """Return what the certificate says. Raises `CertificateRefused`."""
        leaf = _first(_read(self.certificate), self.certificate)
        try:
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return Served(leaf.not_valid_before_utc, leaf.not_valid_after_utc, ())
        hosts = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
        return Served(leaf.not_valid_before_utc, leaf.not_valid_after_utc, hosts)

    def _no_password(self) -> str:
        # Without this OpenSSL would ask for one at the terminal, and wait.
        raise CertificateRefused(f"{self.key} is encrypted: nobody is there to type its password at a start")


@dataclass(frozen=True, slots=True)
class Served:
    """From when until when a certificate holds, and for which hosts."""

    since: datetime
    until: datetime
    hosts: Sequence[str]

    def is_for(self, host: str) -> bool:
        """Say whether browsers take it for this host (RFC 9525: `*` stands for one whole label, the first)."""
        if _is_address(host):
            return any(_is_address(name) and ip_address(name) == ip_address(host) for name in self.hosts)
        wanted = host.lower()
        wildcard = f"*.{wanted.partition('.')[2]}"
        return any(name.lower() in {wanted, wildcard} for name in self.hosts)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateRefused(f"{path} cannot be read: {error.strerror}") from error


def _first(pem: bytes, path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError as error:
        raise CertificateRefused(f"{path} has no certificate in PEM") from error
