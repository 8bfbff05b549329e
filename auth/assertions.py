"""Assertions: short JWTs that a service account signs with its own key to prove who it is (RFC 7523).

The key is the account's, registered beforehand: nothing in the assertion can bring one along.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from auth.jws import JwsRefused, UnverifiedJws, strict_object
from auth.keys import SigningKey
from auth.members import instant, optional_text, text

LONGEST_LIFE = timedelta(minutes=5)

# Google's libraries write an hour into every assertion; it is taken for five minutes after its `iat` all the same.
_LONGEST_WRITTEN_LIFE = timedelta(hours=1)
_CLOCK_SKEW = timedelta(minutes=1)
_LONGEST_JTI = 256

# The usual one, none at all, and that of RFC 7523bis. A token of ours is none of these, and so is never an assertion.
_TYPES = frozenset({"jwt", "", "client-authentication+jwt"})

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")  # a client may name its key as it likes; by this name we can find it


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a verified assertion says: for how long it may be taken, and the `jti` by which it is taken once."""

    jti: str | None
    expires_at: datetime
    scope: str | None


class UnverifiedAssertion:
    """An assertion whose form is right. What it claims is read only to find the account whose key signed it."""

    __slots__ = ("_jws", "algorithm", "claimed_issuer", "kid")

    def __init__(self, assertion: str) -> None:
        """Read the form. Raises `JwsRefused`."""
        self._jws = UnverifiedJws(assertion)
        if str(self._jws.header.get("typ", "")).lower() not in _TYPES:
            raise JwsRefused("another sort of token")
        self.claimed_issuer = text(strict_object(self._jws.unverified_payload()), "iss")
        self.algorithm = self._jws.header.get("alg")
        kid = self._jws.header.get("kid")
        self.kid = kid if isinstance(kid, str) and _THUMBPRINT.fullmatch(kid) else None

    def authenticates(self, key: SigningKey, *, audience: str, now: datetime) -> Assertion:
        """Check an assertion that authenticates a client (RFC 7523 §2.2, with the audience of RFC 7523bis).

        It names our issuer alone, has a `jti`, and ends within five minutes. Raises `JwsRefused`.
        """
        claims = self._checked(key, {audience}, now)
        jti, expires_at = text(claims, "jti"), instant(claims, "exp")
        if not jti or text(claims, "sub") != self.claimed_issuer:
            raise JwsRefused("no jti, or another subject than issuer")
        issued_at = instant(claims, "iat") if "iat" in claims else now
        if expires_at > issued_at + LONGEST_LIFE:
            raise JwsRefused("expires later than in five minutes")
        return Assertion(_bounded(jti), expires_at, None)

    def grants(self, key: SigningKey, *, audiences: Collection[str], without_jti: bool, now: datetime) -> Assertion:
        """Check an assertion that is a grant (RFC 7523 §2.1): it is taken for five minutes after `iat`.

        `without_jti` says that one may be without, and so be taken more than once. Raises `JwsRefused`.
        """
        claims = self._checked(key, audiences, now)
        issued_at, expires_at = instant(claims, "iat"), instant(claims, "exp")
        if claims.get("sub", self.claimed_issuer) != self.claimed_issuer:
            raise JwsRefused("another subject than issuer")
        if expires_at > issued_at + _LONGEST_WRITTEN_LIFE or now > issued_at + LONGEST_LIFE:
            raise JwsRefused("made more than five minutes ago, or for more than an hour")
        if not without_jti and not optional_text(claims, "jti"):
            raise JwsRefused("no jti")
        taken_until = min(expires_at, issued_at + LONGEST_LIFE)
        return Assertion(_bounded(optional_text(claims, "jti")), taken_until, optional_text(claims, "scope"))

    def _checked(self, key: SigningKey, audiences: Collection[str], now: datetime) -> Mapping[str, Any]:
        claims = strict_object(key.verify(self._jws))
        begins = max((instant(claims, name) for name in ("iat", "nbf") if name in claims), default=now)
        if text(claims, "aud") not in audiences:
            raise JwsRefused("another audience")
        if begins > now + _CLOCK_SKEW or instant(claims, "exp") <= now:
            raise JwsRefused("not good yet, or expired")
        return claims


def _bounded(jti: str | None) -> str | None:
    if jti is not None and len(jti) > _LONGEST_JTI:
        raise JwsRefused("a jti without measure")
    return jti
