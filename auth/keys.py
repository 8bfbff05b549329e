"""Signing keys as values: made, named by their thumbprint, and used to sign and to verify.

A key has one algorithm for all its life, and the algorithm decides what sort of key it is (RFC 8725 §3.1).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from auth.jws import Key, UnverifiedJws, sign

EDDSA = "EdDSA"
ES256 = "ES256"
RS256 = "RS256"
HS256 = "HS256"

_NO_PUBLIC_KEY = "this is no public key of Ed25519, P-256 or RSA, in PEM or as a JWK"
_PRIVATE_KEY = "this is a private key: make another, and send its public half"
_PUBLIC = frozenset({"kty", "crv", "x", "y", "n", "e"})
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
_LEAST_RSA_BITS = 2048
_LARGEST_RSA_EXPONENT = 2**32  # all the world uses 65537
_MOST_RSA_BITS = 4096  # a verification takes time that grows with the square
_LEAST_HMAC_BYTES = 32  # RFC 7518 §3.2; the library would take three


class KeyRefused(ValueError):
    """Something that is not a key we sign or verify with; the text says why and holds nothing of the key."""


class KeyIsPrivate(KeyRefused):
    """A private half, where a public one is wanted: its owner should use it no more."""


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A key pair, or for HS256 a secret, that is used with one algorithm; `kid` is its RFC 7638 thumbprint."""

    kid: str
    algorithm: str
    key: Key

    def sign(self, payload: bytes, *, typ: str) -> str:
        """Return a compact JWS whose header has `alg`, `kid` and `typ`."""
        return sign(payload, self.key, self.algorithm, {"typ": typ, "kid": self.kid})

    def verify(self, jws: UnverifiedJws) -> bytes:
        """Return the payload if this key signed it. Raises `JwsRefused`."""
        return jws.verify(self.key, self.algorithm)

    def public_jwk(self) -> str:
        """Return the public half as a JWK (RFC 7517), ready to be published; empty for HS256, which has none."""
        if self.algorithm == HS256:
            return ""
        public: dict[str, Any] = dict(self.key.as_dict(private=False))
        return json.dumps({**public, "kid": self.kid, "alg": self.algorithm, "use": "sig"}, separators=(",", ":"))

    def private_jwk(self) -> bytes:
        """Return all of the key as a JWK, to be sealed at once: this is the secret itself."""
        return json.dumps(self.key.as_dict(private=True), separators=(",", ":")).encode()

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r}, algorithm={self.algorithm!r})"


_GENERATED_BY: Mapping[str, Callable[[], Key]] = MappingProxyType(
    {
        EDDSA: lambda: OKPKey.generate_key("Ed25519", private=True),
        ES256: lambda: ECKey.generate_key("P-256", private=True),
        RS256: lambda: RSAKey.generate_key(_LEAST_RSA_BITS, private=True),
        HS256: lambda: OctKey.generate_key(8 * _LEAST_HMAC_BYTES, private=True),
    }
)

ALGORITHMS = tuple(_GENERATED_BY)


def generate(algorithm: str = EDDSA) -> SigningKey:
    """Make a new key for an algorithm; one for RS256 takes a tenth of a second or several."""
    return _named(_GENERATED_BY[algorithm]())


def from_private_jwk(jwk: bytes) -> SigningKey:
    """Read back what `SigningKey.private_jwk` gave; name and algorithm are found anew and never believed."""
    members = json.loads(jwk)
    return _named(_TYPES[members["kty"]].import_key(members))


@lru_cache(maxsize=1024)
def from_public_jwk(jwk: str) -> SigningKey:
    """Read a public half that was checked before; it verifies and cannot sign."""
    return from_private_jwk(jwk.encode())


def read_public_key(text: str) -> SigningKey:
    """Read a public key that somebody brings, as PEM or JWK: it verifies and cannot sign.

    Raises `KeyRefused` for anything but Ed25519, P-256 or RSA of 2048 to 4096 bits, and for a private half, which
    nobody but its owner should ever see.
    """
    try:
        der = _der_of_jwk(json.loads(text)) if text.lstrip().startswith("{") else _der_of_pem(text)
        # Made anew from its one encoding: a zero byte before a number would give one key many thumbprints.
        return _named(_kind_of(load_der_public_key(der)).import_key(der))
    except KeyRefused:
        raise
    except (JoseError, ValueError, TypeError, KeyError, RecursionError, UnsupportedAlgorithm) as error:
        raise KeyRefused(_NO_PUBLIC_KEY) from error


def _der_of_pem(text: str) -> bytes:
    if "PRIVATE KEY-" in text:
        raise KeyIsPrivate(_PRIVATE_KEY)
    return load_pem_public_key(text.encode()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _der_of_jwk(jwk: Mapping[str, Any]) -> bytes:
    if _PRIVATE & jwk.keys():
        raise KeyIsPrivate(_PRIVATE_KEY)
    if jwk["kty"] == "RSA" and len(jwk["n"]) < _LEAST_RSA_BITS / 6:
        raise KeyRefused(_NO_PUBLIC_KEY)  # the library would warn of it, and take it
    # What it is called and what it is for, we know better.
    public = _TYPES[jwk["kty"]].import_key({name: jwk[name] for name in _PUBLIC & jwk.keys()})
    return bytes(public.as_der(private=False))  # type: ignore[union-attr]


def _kind_of(key: object) -> type[OKPKey] | type[ECKey] | type[RSAKey]:
    match key:
        case Ed25519PublicKey():
            return OKPKey
        case EllipticCurvePublicKey():
            return ECKey
        case RSAPublicKey() if _is_usual(key.key_size, key.public_numbers()):
            return RSAKey
    raise KeyRefused(_NO_PUBLIC_KEY)


def _is_usual(size: int, numbers: RSAPublicNumbers) -> bool:
    """Say whether a key of RSA is like those that are made: a verification takes time that grows with the exponent."""
    is_sound = bool(numbers.n % 2) and bool(numbers.e % 2)
    return is_sound and _LEAST_RSA_BITS <= size <= _MOST_RSA_BITS and numbers.e <= _LARGEST_RSA_EXPONENT


_TYPES: Mapping[str, type[OKPKey] | type[ECKey] | type[RSAKey] | type[OctKey]] = MappingProxyType(
    {"OKP": OKPKey, "EC": ECKey, "RSA": RSAKey, "oct": OctKey}
)


def _named(key: Key) -> SigningKey:
    return SigningKey(kid=key.thumbprint(), algorithm=_algorithm_of(key), key=key)


def _algorithm_of(key: Key) -> str:
    match key:
        case OKPKey() if key.curve_name == "Ed25519":
            return EDDSA
        case ECKey() if key.curve_name == "P-256":
            return ES256
        case RSAKey() if _LEAST_RSA_BITS <= key.public_key.key_size <= _MOST_RSA_BITS:
            return RS256
        case OctKey() if len(key.raw_value) >= _LEAST_HMAC_BYTES:
            return HS256
    raise KeyRefused("a key is of Ed25519, P-256, or RSA with 2048 to 4096 bits")
