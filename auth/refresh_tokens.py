"""Refresh tokens: opaque text that names a session and counts, authenticated with a key of that session's own.

The keys are derived from the secret keys, so the store holds a number and nothing that could be stolen. A secret key
that is taken off the list takes the refresh tokens with it that were made under it.
"""

import base64
import binascii
import hmac
import re
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from auth.secret import Secret, derived_key

_PURPOSE = "watchword refresh tokens v1"
_PREFIX = "wwr_"  # so that whoever finds one in a log or a repository knows what it is
_NAMED = struct.Struct(">16sQ")  # the session's id and the counter
_BODY = re.compile(r"[A-Za-z0-9_-]{75}")  # 56 bytes: those 24, and the 32 of HMAC-SHA-256


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """What a refresh token says: the session's id, and which one of its tokens it is."""

    session_id: str
    counter: int


class RefreshTokens:
    """Makes them under the first of the secret keys, and reads those made under any."""

    def __init__(self, secret_keys: Sequence[Secret]) -> None:
        self._keys = [derived_key(secret, _PURPOSE) for secret in secret_keys]

    def make(self, session_id: str, counter: int) -> Secret:
        """Return the session's token with this number: always the same one, so that it can be given twice."""
        named = _NAMED.pack(uuid.UUID(session_id).bytes, counter)
        body = base64.urlsafe_b64encode(named + _mac(self._keys[0], named)).rstrip(b"=").decode()
        return Secret(_PREFIX + body)

    def read(self, token: Secret) -> RefreshToken | None:
        """Return what a token says, or None for one that is not ours, or not in its one spelling."""
        body = token.reveal().removeprefix(_PREFIX)
        if not token.reveal().startswith(_PREFIX) or _BODY.fullmatch(body) is None:
            return None
        try:
            raw = base64.urlsafe_b64decode(body + "=")
        except binascii.Error:
            return None
        if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != body:
            return None
        named, mac = raw[: _NAMED.size], raw[_NAMED.size :]
        # Not `any`: however many keys there are, each is tried.
        if sum(hmac.compare_digest(_mac(key, named), mac) for key in self._keys) == 0:
            return None
        session, counter = _NAMED.unpack(named)
        return RefreshToken(str(uuid.UUID(bytes=session)), counter)


def _mac(key: bytes, named: bytes) -> bytes:
    session_key = hmac.digest(key, named[:16], sha256)
    return hmac.digest(session_key, named, sha256)
