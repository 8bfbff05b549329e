"""Signing keys as values: made, named by their thumbprint, and used to sign and to verify."""

import json
from dataclasses import dataclass
from typing import Any

from joserfc.jwk import OKPKey

from auth.jws import UnverifiedJws, sign

EDDSA = "EdDSA"


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A key pair that is used with one algorithm only; `kid` is its RFC 7638 thumbprint."""

    kid: str
    algorithm: str
    key: OKPKey

    def sign(self, payload: bytes, *, typ: str) -> str:
        """Return a compact JWS whose header has `alg`, `kid` and `typ`."""
        return sign(payload, self.key, self.algorithm, {"typ": typ, "kid": self.kid})

    def verify(self, jws: UnverifiedJws) -> bytes:
        """Return the payload if this key signed it. Raises `JwsRefused`."""
        return jws.verify(self.key, self.algorithm)

    def public_jwk(self) -> str:
        """Return the public half as a JWK (RFC 7517, RFC 8037), ready to be published."""
        public: dict[str, Any] = dict(self.key.as_dict(private=False))
        return json.dumps({**public, "kid": self.kid, "alg": self.algorithm, "use": "sig"}, separators=(",", ":"))

    def private_jwk(self) -> bytes:
        """Return both halves as a JWK, to be sealed at once: this is the secret itself."""
        return json.dumps(self.key.as_dict(private=True), separators=(",", ":")).encode()

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r}, algorithm={self.algorithm!r})"


def generate() -> SigningKey:
    """Make a new Ed25519 key pair (RFC 8037)."""
    return _named(OKPKey.generate_key("Ed25519", private=True))


def from_private_jwk(jwk: bytes) -> SigningKey:
    """Read back what `SigningKey.private_jwk` gave; the name is computed anew and never believed."""
    return _named(OKPKey.import_key(json.loads(jwk)))


def _named(key: OKPKey) -> SigningKey:
    return SigningKey(kid=key.thumbprint(), algorithm=EDDSA, key=key)
