"""Secrets that do not print themselves, and the digests under which they are kept."""

import hashlib
import secrets

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Secret:
    """A string that shows itself only to whoever asks for it by `reveal`: never in a repr, a log or a traceback."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._value

    def digest(self) -> bytes:
        """Return the SHA-256 of the secret, which is what the store keeps.

        A fast digest is enough for 32 random bytes: nobody guesses them. A password is not such a secret and never
        comes here; see `auth.passwords`.
        """
        return hashlib.sha256(self._value.encode()).digest()

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and secrets.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self.digest())


def new_secret() -> Secret:
    """Return 256 random bits as 43 characters of base64url."""
    return Secret(secrets.token_urlsafe(32))


def derived_key(secret: Secret, purpose: str) -> bytes:
    """Return 32 bytes that follow from a secret for one purpose, and tell nothing of it or of others (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode()).derive(secret.reveal().encode())
