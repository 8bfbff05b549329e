"""Access tokens: JWTs (RFC 7519) in the profile of RFC 9068, made and checked in one function each.

They name a session and say nothing personal: a JWT is signed, not encrypted, and anybody who holds it can read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from auth.ids import new_id
from auth.jws import JwsRefused, UnverifiedJws, strict_object
from auth.keys import SigningKey
from auth.refusals import Reason, Unauthenticated
from auth.secret import Secret

ACCESS_TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068 §2.1; each kind of token has its own, so none passes for another
FIRST_PARTY_CLIENT = "watchword"  # RFC 9068 §2.2 wants a client_id; a login is made through no other client

# An issuer's clock may be a little ahead of a verifier's. `exp` is given no such grace.
_CLOCK_SKEW = timedelta(minutes=1)
# No access token of ours lives longer, whatever is configured: a far-away `exp` fails even under a leaked key.
_LONGEST_LIFE = timedelta(hours=1)
_LAST_SECOND = 2**53
# A browser keeps cookies of 4 kB. Here the session's row says what its holder may do; a longer claim is left empty for
# the other services that read it, which is less than the truth and never more.
_LONGEST_SCOPE = 2_000


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What an access token says, in our words."""

    subject: str
    session_id: str
    scopes: frozenset[str]
    authentication_methods: tuple[str, ...]
    authenticated_at: datetime
    issued_at: datetime
    expires_at: datetime


def issue_access_token(claims: AccessClaims, key: SigningKey, *, issuer: str) -> Secret:
    """Sign an access token for our own audience, which is the issuer itself."""
    scope = " ".join(sorted(claims.scopes))
    payload = {
        "iss": issuer,
        "sub": claims.subject,
        "aud": issuer,
        "exp": int(claims.expires_at.timestamp()),
        "iat": int(claims.issued_at.timestamp()),
        "jti": new_id(),
        "client_id": FIRST_PARTY_CLIENT,
        "sid": claims.session_id,
        "scope": scope if len(scope) <= _LONGEST_SCOPE else "",
        "amr": list(claims.authentication_methods),
        "auth_time": int(claims.authenticated_at.timestamp()),
    }
    return Secret(key.sign(orjson.dumps(payload), typ=ACCESS_TOKEN_TYPE))


def verify_access_token(token: str, keys: Mapping[str, SigningKey], *, issuer: str, now: datetime) -> AccessClaims:
    """Return what a token says, once everything about it has been checked.

    Raises `Unauthenticated` with TOKEN_EXPIRED for a token that is ours in all but its time, otherwise with
    TOKEN_INVALID: which check failed is told to nobody (RFC 8725).
    """
    try:
        jws = UnverifiedJws(token)
        # An unknown kid is refused; a key that comes along in `jwk`, `jku`, `x5u` or `x5c` is never looked at.
        key = keys.get(_text(jws.header, "kid"))
        if key is None or _text(jws.header, "typ").lower() != ACCESS_TOKEN_TYPE:
            raise JwsRefused("not an access token of this ring")
        claims = strict_object(key.verify(jws))
        if _text(claims, "iss") != issuer or _text(claims, "aud") != issuer:
            raise JwsRefused("another issuer or audience")
        issued_at, expires_at = _instant(claims, "iat"), _instant(claims, "exp")
        not_before = _instant(claims, "nbf") if "nbf" in claims else issued_at
        if max(issued_at, not_before) > now + _CLOCK_SKEW or not timedelta(0) < expires_at - issued_at <= _LONGEST_LIFE:
            raise JwsRefused("times that we never write")
        verified = AccessClaims(
            subject=_text(claims, "sub"),
            session_id=_text(claims, "sid"),
            scopes=frozenset(_text(claims, "scope").split()),
            authentication_methods=_texts(claims, "amr"),
            authenticated_at=_instant(claims, "auth_time"),
            issued_at=issued_at,
            expires_at=expires_at,
        )
    except JwsRefused as error:
        raise Unauthenticated(Reason.TOKEN_INVALID) from error
    if verified.expires_at <= now:
        raise Unauthenticated(Reason.TOKEN_EXPIRED)
    return verified


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise JwsRefused(f"{name} is not a string")
    return value


def _texts(members: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = members.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise JwsRefused(f"{name} is not a list of strings")
    return tuple(value)


def _instant(members: Mapping[str, Any], name: str) -> datetime:
    value = members.get(name)
    # bool is an int in Python; a float NumericDate is allowed by RFC 7519 and written by none of ours.
    if type(value) is not int or not 0 < value < _LAST_SECOND:
        raise JwsRefused(f"{name} is not a whole number of seconds")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise JwsRefused(f"{name} is out of range") from error
