"""`watchword token decode`: the three parts of a JWT for a person, and whether it verifies here."""

import asyncio
import base64
import binascii
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from auth import Auth, tokens
from auth.jws import MAX_TOKEN_BYTES, JwsRefused, strict_object
from auth.origin import NOWHERE
from auth.refusals import Reason, Unauthenticated
from auth.secret import Secret
from installation import Installation
from store import StoreUnavailable

_HEADER = {
    "alg": "the algorithm that signed it",
    "typ": "what sort of token it is",
    "kid": "which key signed it",
    "cty": "what is inside",
}
_CLAIMS = {
    "iss": "who issued it",
    "sub": "whom it is about",
    "aud": "for whom it is meant",
    "exp": "when it expires",
    "nbf": "from when on it is good",
    "iat": "when it was issued",
    "jti": "the id of this token",
    "sid": "the session it belongs to",
    "client_id": "the program that it was given to",
    "credential_id": "the secret or key that it was given for",
    "scope": "what it may",
    "amr": "how its owner proved who they are",
    "auth_time": "when its owner proved who they are",
}
_INSTANTS = frozenset({"exp", "nbf", "iat", "auth_time"})
_PARTS = 3
_LAST_SECOND = 253402300799  # of the year 9999


def explain(installation: Installation, text: str) -> str:
    """Return what a token says, line by line, and what it is worth here. Nothing that it says is believed.

    Terminals obey control characters, and anybody can write a token: so everything of it is shown as JSON in ASCII.
    """
    text = text.strip().removeprefix("Bearer ").strip()
    return "\n".join([*_parts(text), "", asyncio.run(_verdict(installation, text))])


def _parts(text: str) -> Iterator[str]:
    parts = text.split(".")
    if len(parts) != _PARTS or len(text) > 16 * MAX_TOKEN_BYTES:
        yield "This is not a JWT: a JWT is three parts of base64url with dots between them."
        return
    yield "HEADER: how it was signed. Anybody can read it."
    yield from _members(parts[0], _HEADER)
    yield ""
    yield "PAYLOAD: what it says. Anybody can read it: it is signed, not encrypted."
    yield from _members(parts[1], _CLAIMS)
    yield ""
    yield f"SIGNATURE: {len(parts[2])} characters, by which a change of one letter of the rest is found out."


def _members(part: str, explained: dict[str, str]) -> Iterator[str]:
    try:
        members = json.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        yield "  This part is not JSON in base64url."
        return
    if not isinstance(members, dict):
        yield "  This part is not a JSON object."
        return
    for name, value in members.items():
        shown = name if name.isascii() and name.isprintable() else json.dumps(name)
        yield f"  {shown}: {json.dumps(value)}  ({explained.get(name, 'a claim of its own')}{_in_words(name, value)})"


def _in_words(name: str, value: Any) -> str:
    if name not in _INSTANTS or type(value) is not int or not 0 <= value <= _LAST_SECOND:
        return ""
    return f": {datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"


async def _verdict(installation: Installation, text: str) -> str:
    # An argument that is no text comes in as halves of characters, which no token has.
    token = Secret(text.encode("utf-8", "replace").decode())
    try:
        installation.require_database()
        async with installation.open_auth(to_look=True) as auth:
            try:
                claims = await auth.gate.verify(token)
                identity = await auth.gate.admit(claims, NOWHERE)
            except Unauthenticated as refused:
                why = f" {await _why(auth, token)}" if refused.reason is Reason.TOKEN_INVALID else ""
                return f"It is refused here ({refused.reason.name}): {refused.reason.value}{why}"
    except StoreUnavailable as error:
        return f"Whether it verifies cannot be said: {error}."
    may = ", ".join(sorted(identity.scopes)) or "nothing"
    return f"It verifies here: it is {claims.kind.value}, and may at this moment: {may}."


async def _why(auth: Auth, token: Secret) -> str:
    """Say to the operator, who has the keys, what strangers are not told."""
    if auth.renewal.session_of(token) is not None:
        return "This is a refresh token, which `refresh` takes and nothing else does."
    try:
        unverified = tokens.read(token.reveal())
        found = await auth.key_ring.verifying_key(unverified.kid)
        if found is None:
            return "No key here has this kid: another installation signed it, or the key is long gone."
        members = strict_object(found[0].verify(unverified.jws))
    except Unauthenticated:
        return "It has not the form of a token of ours."
    except JwsRefused:
        return "The signature does not hold: it was changed, or another key signed it."
    if members.get("iss") != auth.policy.issuer:
        return "One of our keys signed it, for another issuer: see WATCHWORD_PUBLIC_URL."
    return "One of our keys signed it, and it says what no token of ours says."
