"""JSON Web Signatures in compact form (RFC 7515), read more strictly than the library does by itself.

joserfc signs and verifies. What is added here is refused before a key is touched: foreign characters and stray bits in
base64url, duplicate members, unknown `crit`, oversized input. Without these, one token has many spellings, and a cache
or a deny list that knows one of them is passed by with another.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, deserialize_compact, serialize_compact

Key = OKPKey | OctKey | ECKey | RSAKey

MAX_TOKEN_BYTES = 4096  # what a browser keeps in a cookie; ours take 600

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class JwsRefused(Exception):
    """The text is not a JWS that this key signed with this algorithm. Which check failed is not told."""


class UnverifiedJws:
    """A JWS whose form is right. Its header may be read, to choose a key; the rest holds once `verify` returned it."""

    __slots__ = ("_payload", "_text", "header")

    def __init__(self, text: str) -> None:
        """Read the compact form. Raises `JwsRefused`."""
        if len(text) > MAX_TOKEN_BYTES or _COMPACT.fullmatch(text) is None:
            raise JwsRefused("not a compact JWS")
        header, payload, signature = (_decode(part) for part in text.split("."))
        del signature
        self._text = text
        self._payload = payload
        self.header: Mapping[str, Any] = strict_object(header)
        if "crit" in self.header:
            # RFC 7515 §4.1.11: we understand no extension, so a token that insists on one is not for us.
            raise JwsRefused("unknown critical header")

    def unverified_payload(self) -> bytes:
        """Return what nobody has vouched for: to choose a key by, or to be shown to a person, and for nothing else."""
        return self._payload

    def verify(self, key: Key, algorithm: str) -> bytes:
        """Return the payload if this key signed it with this algorithm, which the header must name too.

        The algorithm belongs to the key and is never taken from the token (RFC 8725 §3.1). Raises `JwsRefused`.
        """
        if self.header.get("alg") != algorithm:
            raise JwsRefused("another algorithm")
        try:
            deserialize_compact(self._text, key, registry=_OneAlgorithm(algorithms=[algorithm]))
        except (JoseError, ValueError, TypeError) as error:
            raise JwsRefused("the signature does not hold") from error
        return self._payload


def sign(payload: bytes, key: Key, algorithm: str, header: Mapping[str, str]) -> str:
    """Return the compact JWS of a payload; `alg` is put first into the header."""
    protected = {"alg": algorithm, **header}
    return serialize_compact(protected, payload, key, registry=_OneAlgorithm(algorithms=[algorithm]))


def strict_object(raw: bytes) -> dict[str, Any]:
    """Parse UTF-8 JSON that must be an object without duplicate members and without NaN. Raises `JwsRefused`."""
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
        if b"\\u" in raw:
            orjson.loads(raw)  # half a character, "\\ud800", is text to Python, until it is written somewhere
    except (ValueError, RecursionError) as error:
        raise JwsRefused("not strict JSON") from error
    if not isinstance(value, dict):
        raise JwsRefused("not a JSON object")
    return value


class _OneAlgorithm(JWSRegistry):
    """The library's registry without its advice: it warns of the name EdDSA, which every verifier out there knows."""

    def get_alg(self, name: str) -> Any:
        if not self.allowed or name not in self.allowed:
            raise JwsRefused("another algorithm")
        return self.algorithms[name]


def _decode(part: str) -> bytes:
    try:
        decoded = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise JwsRefused("not base64url") from error
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != part:
        raise JwsRefused("not canonical base64url")
    return decoded


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
