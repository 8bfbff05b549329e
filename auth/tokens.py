"""The JWTs of this installation (RFC 7519): each kind is made in one function, and all are checked in one.

They name a row and say nothing personal: a JWT is signed, not encrypted, and anybody who holds it can read it. Access
tokens keep the profile of RFC 9068. Whether what a token names is still good, the row says: see `auth.gate`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Any

import orjson

from auth.ids import is_id
from auth.jws import JwsRefused, UnverifiedJws, strict_object
from auth.keys import SigningKey
from auth.members import instant, text, texts
from auth.refusals import Reason, Unauthenticated
from auth.secret import Secret

FIRST_PARTY_CLIENT = "watchword"  # RFC 9068 §2.2 wants a client_id; a login is made through no other client

# No access token of ours lives longer, whatever is configured: a far-away `exp` fails even under a leaked key.
LONGEST_ACCESS_LIFE = timedelta(hours=1)
LONGEST_API_TOKEN_LIFE = timedelta(days=366)

# An issuer's clock may be a little ahead of a verifier's. `exp` is given no such grace.
_CLOCK_SKEW = timedelta(minutes=1)
# A browser keeps a cookie of 4 kB, and a token grows by a third in base64url. Of sessions and API tokens the row says
# what their holder may; a scope claim that would not fit is left empty for others: less than the truth, never more.
_LONGEST_PAYLOAD = 2_600


ACCESS_TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068 §2.1
API_TOKEN_TYPE = "api+jwt"  # noqa: S105 - RFC 8725 §3.11: each sort has its own, so that none passes for another


_API = "/graphql"


class TokenKind(Enum):
    """What a token stands for."""

    SESSION = "the access token of a person's session"
    SERVICE = "the access token of a service account"
    API = "an API token"

    @property
    def typ(self) -> str:
        """The header's `typ`."""
        return API_TOKEN_TYPE if self is TokenKind.API else ACCESS_TOKEN_TYPE

    def audience(self, issuer: str) -> str:
        """Return whom it is for: an access token for whoever trusts the issuer, an API token for our API alone.

        An API token lives for months, and nobody but us knows whether it was revoked. A verifier elsewhere that looks
        at the audience, as all do, and not at `typ`, as some do not, must not take it (RFC 8725 §3.12).
        """
        return issuer + _API if self is TokenKind.API else issuer


class TooManyScopes(Exception):
    """The scopes do not fit into a token."""


_LONGEST_LIFE: Mapping[str, timedelta] = MappingProxyType(
    {ACCESS_TOKEN_TYPE: LONGEST_ACCESS_LIFE, API_TOKEN_TYPE: LONGEST_API_TOKEN_LIFE}
)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says, in our words. A session's has `session_id`, a service's `credential_id`."""

    kind: TokenKind
    subject: str
    token_id: str
    scopes: frozenset[str]
    issued_at: datetime
    expires_at: datetime
    client_id: str | None = None
    session_id: str | None = None
    credential_id: str | None = None
    authentication_methods: tuple[str, ...] = ()
    authenticated_at: datetime | None = None
    kid: str = ""
    issuer: str = ""


def issue(claims: Claims, key: SigningKey, *, issuer: str, extra: Mapping[str, Any] = MappingProxyType({})) -> Secret:
    """Sign a token; `extra` claims never take the place of ours.

    Raises `TooManyScopes` for a service account's: what it asked for stands nowhere else.
    """
    ours: dict[str, Any] = {
        "iss": issuer,
        "sub": claims.subject,
        "aud": claims.kind.audience(issuer),
        "exp": int(claims.expires_at.timestamp()),
        "iat": int(claims.issued_at.timestamp()),
        "jti": claims.token_id,
        "scope": " ".join(sorted(claims.scopes)),
    }
    if claims.client_id is not None:
        ours["client_id"] = claims.client_id
    if claims.session_id is not None and claims.authenticated_at is not None:
        ours["sid"] = claims.session_id
        ours["amr"] = list(claims.authentication_methods)
        ours["auth_time"] = int(claims.authenticated_at.timestamp())
    if claims.credential_id is not None:
        ours["credential_id"] = claims.credential_id
    payload = orjson.dumps({**extra, **ours})
    if len(payload) > _LONGEST_PAYLOAD and claims.kind is TokenKind.SERVICE:
        raise TooManyScopes
    if len(payload) > _LONGEST_PAYLOAD:
        payload = orjson.dumps({**extra, **ours, "scope": ""})
    return Secret(key.sign(payload, typ=claims.kind.typ))


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A token whose form is right. Its header names the key; nothing else of it may be looked at yet."""

    jws: UnverifiedJws
    kid: str
    typ: str


def read(token: str) -> UnverifiedToken:
    """Read a token's form. Raises `Unauthenticated` with TOKEN_INVALID.

    A key that comes along in `jwk`, `jku`, `x5u` or `x5c` is never looked at, and nothing is ever fetched.
    """
    try:
        jws = UnverifiedJws(token)
        typ = text(jws.header, "typ").lower()
        if typ not in _LONGEST_LIFE:
            raise JwsRefused("not a token of any kind of ours")
        return UnverifiedToken(jws, text(jws.header, "kid"), typ)
    except JwsRefused as error:
        raise Unauthenticated(Reason.TOKEN_INVALID) from error


def verify(token: UnverifiedToken, key: SigningKey, *, issuer: str, now: datetime) -> Claims:
    """Return what a token says, once everything about it has been checked.

    Raises `Unauthenticated` with TOKEN_EXPIRED for a token that is ours in all but its time, otherwise with
    TOKEN_INVALID: which check failed is told to nobody (RFC 8725).
    """
    try:
        if key.kid != token.kid:
            raise JwsRefused("another key")
        members = strict_object(key.verify(token.jws))
        claims = _claims(members, token)
        if claims.issuer != issuer or text(members, "aud") != claims.kind.audience(issuer):
            raise JwsRefused("another issuer or audience")
        not_before = instant(members, "nbf") if "nbf" in members else claims.issued_at
        lifetime = claims.expires_at - claims.issued_at
        if (
            max(claims.issued_at, not_before) > now + _CLOCK_SKEW
            or not timedelta(0) < lifetime <= _LONGEST_LIFE[token.typ]
        ):
            raise JwsRefused("times that we never write")
    except JwsRefused as error:
        raise Unauthenticated(Reason.TOKEN_INVALID) from error
    if claims.expires_at <= now:
        raise Unauthenticated(Reason.TOKEN_EXPIRED)
    return claims


def _claims(members: Mapping[str, Any], token: UnverifiedToken) -> Claims:
    if token.typ == API_TOKEN_TYPE:
        kind = TokenKind.API
    else:
        kind = TokenKind.SESSION if "sid" in members else TokenKind.SERVICE
    return Claims(
        kind=kind,
        subject=_id(members, "sub"),
        token_id=_id(members, "jti"),
        scopes=frozenset(text(members, "scope").split()),
        issued_at=instant(members, "iat"),
        expires_at=instant(members, "exp"),
        client_id=None if kind is TokenKind.API else text(members, "client_id"),
        session_id=_id(members, "sid") if kind is TokenKind.SESSION else None,
        credential_id=_id(members, "credential_id") if kind is TokenKind.SERVICE else None,
        authentication_methods=texts(members, "amr") if kind is TokenKind.SESSION else (),
        authenticated_at=instant(members, "auth_time") if kind is TokenKind.SESSION else None,
        kid=token.kid,
        issuer=text(members, "iss"),
    )


def _id(members: Mapping[str, Any], name: str) -> str:
    value = text(members, name)
    if not is_id(value):
        raise JwsRefused(f"{name} is not an id")
    return value
