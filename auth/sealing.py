"""Encryption at rest under WATCHWORD_SECRET_KEY: a stolen database without that key holds no usable private half."""

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from auth.secret import Secret, derived_key

_PURPOSE = "watchword signing keys v1"


class SealBroken(Exception):
    """What was sealed was sealed under none of the secret keys given, or was changed since."""


class Sealer:
    """Seals under the first of the secret keys and opens what any of them sealed, so that they can be rotated."""

    def __init__(self, secret_keys: Sequence[Secret]) -> None:
        fernets = [Fernet(base64.urlsafe_b64encode(derived_key(secret, _PURPOSE))) for secret in secret_keys]
        self._fernet = MultiFernet(fernets)
        self._first = fernets[0]

    def seal(self, plain: bytes) -> bytes:
        """Encrypt and authenticate (Fernet: AES-128-CBC and HMAC-SHA-256)."""
        return self._fernet.encrypt(plain)

    def open(self, sealed: bytes) -> bytes:
        """Return what was sealed. Raises `SealBroken`."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            raise SealBroken("WATCHWORD_SECRET_KEY is not the one under which the signing keys were sealed") from error

    def is_first(self, sealed: bytes) -> bool:
        """Say whether it was sealed under the first secret key, and so needs no other."""
        try:
            self._first.decrypt(sealed)
        except InvalidToken:
            return False
        return True
