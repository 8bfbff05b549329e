"""Assertions: short JWTs that a service account signs with its own key to prove who it is (RFC 7523).

The key is the account's, registered beforehand: nothing in the assertion can bring one along.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from auth.jws import JwsRefused, UnverifiedJws, strict_object
from auth.keys import SigningKey

LONGEST_LIFE = timedelta(minutes=5)

# Google's libraries write an hour into every assertion; it is taken for five minutes after its `iat` all the same.
_LONGEST_WRITTEN_LIFE = timedelta(hours=1)
_CLOCK_SKEW = timedelta(minutes=1)
_LONGEST_TEXT = 2_000
_LAST_SECOND = 2**53

# The usual one, none at all, and that of RFC 7523bis. A token of ours is none of these, and so is never an assertion.
_TYPES = frozenset({"jwt", "", "client-authentication+jwt"})


_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")  # a client may name its key as it likes; by this name we can find it


class AssertionRefused(Exception):
    """It does not prove what it should. Which check failed is for nobody to know."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a verified assertion says: for how long it may be taken, and the `jti` by which it is taken once."""

    jti: str | None
    expires_at: datetime
    scope: str | None


class UnverifiedAssertion:
    """An assertion whose form is right. What it claims is read only to find the account whose key signed it."""

    __slots__ = ("_jws", "claimed_issuer", "kid")

    def __init__(self, text: str) -> None:
        """Read the form. Raises `AssertionRefused`."""
        try:
            self._jws = UnverifiedJws(text)
            if str(self._jws.header.get("typ", "")).lower() not in _TYPES:
                raise JwsRefused("another sort of token")
            self.claimed_issuer = _text(strict_object(self._jws.unverified_payload()), "iss")
        except JwsRefused as error:
            raise AssertionRefused from error
        kid = self._jws.header.get("kid")
        self.kid = kid if isinstance(kid, str) and _THUMBPRINT.fullmatch(kid) else None

    def authenticates(self, key: SigningKey, *, audience: str, now: datetime) -> Assertion:
        """Check an assertion that authenticates a client (RFC 7523 §2.2, with the audience of RFC 7523bis).

        It names our issuer alone, has a `jti`, and ends within five minutes. Raises `AssertionRefused`.
        """
        claims = self._checked(key, {audience}, now)
        expires_at = _instant(claims, "exp")
        if _optional_text(claims, "sub") != self.claimed_issuer or not _optional_text(claims, "jti"):
            raise AssertionRefused
        if expires_at > now + LONGEST_LIFE + _CLOCK_SKEW:
            raise AssertionRefused
        return Assertion(_optional_text(claims, "jti"), expires_at, None)

    def grants(self, key: SigningKey, *, audiences: Collection[str], now: datetime) -> Assertion:
        """Check an assertion that is a grant (RFC 7523 §2.1): it is taken for five minutes after `iat`.

        Raises `AssertionRefused`.
        """
        claims = self._checked(key, audiences, now)
        issued_at, expires_at = _instant(claims, "iat"), _instant(claims, "exp")
        if claims.get("sub", self.claimed_issuer) != self.claimed_issuer:
            raise AssertionRefused
        if expires_at > issued_at + _LONGEST_WRITTEN_LIFE or now > issued_at + LONGEST_LIFE:
            raise AssertionRefused
        taken_until = min(expires_at, issued_at + LONGEST_LIFE)
        return Assertion(_optional_text(claims, "jti"), taken_until, _optional_text(claims, "scope"))

    def _checked(self, key: SigningKey, audiences: Collection[str], now: datetime) -> Mapping[str, Any]:
        try:
            claims = strict_object(key.verify(self._jws))
        except JwsRefused as error:
            raise AssertionRefused from error
        begins = max((_instant(claims, name) for name in ("iat", "nbf") if name in claims), default=now)
        if (
            _optional_text(claims, "aud") not in audiences
            or begins > now + _CLOCK_SKEW
            or _instant(claims, "exp") <= now
        ):
            raise AssertionRefused
        return claims


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise JwsRefused(f"{name} is not a string")
    return value


def _optional_text(members: Mapping[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > _LONGEST_TEXT):
        raise AssertionRefused
    return value


def _instant(members: Mapping[str, Any], name: str) -> datetime:
    value = members.get(name)
    if type(value) is not int or not 0 < value < _LAST_SECOND:
        raise AssertionRefused
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise AssertionRefused from error
