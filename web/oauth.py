"""The OAuth endpoints for programs: a token for a proof, what a token is worth, and the end of one.

Errors are those of RFC 6749 §5.2. Parameters come in a form's body and nowhere else, each at most once. A page of
another site can post a form: so no cookie is looked at here, and none is set.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from starlette.requests import Request
from starlette.responses import Response

from auth import Auth
from auth.oauth_refusals import OAuthFault, OAuthRefused
from auth.origin import Origin
from auth.refusals import RateLimited
from auth.secret import Secret
from auth.service_login import Service
from auth.tokens import FIRST_PARTY_CLIENT
from schema.errors import Code
from store import StoreUnavailable
from web.context_getter import read_origin
from web.refused import RequestRefused
from web.request_body import media_type_of, read_body
from web.request_headers import RequestHeaders
from web.responses import json_response
from web.state import note_refusal, runtime_of

_CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_LARGEST_BODY = 32 * 1024
_BODY_SECONDS = 10
_MOST_PARAMETERS = 20

Parameters = Mapping[str, str]
Endpoint = Callable[[Request], Awaitable[Response]]


def _endpoint(answer: Callable[[Auth, Request, Parameters, Origin], Awaitable[Response]]) -> Endpoint:
    """Read the request for an endpoint, and turn what it raises into what RFC 6749 says."""

    async def endpoint(request: Request) -> Response:
        try:
            headers = RequestHeaders(request.scope["headers"])
            parameters = await _parameters(request, headers)
            return await answer(
                runtime_of(request.scope).auth, request, parameters, read_origin(request.scope, headers)
            )
        except OAuthRefused as refused:
            note_refusal(request.scope, refused.fault.name.lower())
            return _error(refused.fault, asked_by_header="authorization" in request.headers)
        except RateLimited as refused:
            note_refusal(request.scope, Code.RATE_LIMITED.name)
            # RFC 6585 §4. RFC 6749 has no word for it but this one.
            body = {"error": "temporarily_unavailable", "error_description": str(refused)}
            return json_response(body, 429, {"retry-after": str(refused.seconds)})
        except StoreUnavailable:
            note_refusal(request.scope, Code.UNAVAILABLE.name)
            body = {"error": "temporarily_unavailable", "error_description": "The database does not answer; try again."}
            return json_response(body, 503)

    return endpoint


@_endpoint
async def token(auth: Auth, request: Request, parameters: Parameters, origin: Origin) -> Response:
    """Give an access token for client credentials (RFC 6749 §4.4) or for an assertion (RFC 7523 §2.1)."""
    match parameters.get("grant_type"):
        case None | "":
            raise OAuthRefused(OAuthFault.INVALID_REQUEST)
        case "client_credentials":
            service = await _authenticated(auth, request, parameters, origin)
        case "urn:ietf:params:oauth:grant-type:jwt-bearer":
            service = await auth.service_login.by_grant(Secret(_required(parameters, "assertion")), origin)
        case _:
            raise OAuthRefused(OAuthFault.UNSUPPORTED_GRANT_TYPE)
    grant = await auth.service_tokens.token_for(service, parameters.get("scope"))
    return json_response(
        {
            "access_token": grant.access_token.reveal(),
            "token_type": "Bearer",
            "expires_in": int(grant.expires_in.total_seconds()),
            "scope": " ".join(sorted(grant.scopes)),
        },
        headers={"pragma": "no-cache"},  # RFC 6749 §5.1
    )


@_endpoint
async def introspect(auth: Auth, request: Request, parameters: Parameters, origin: Origin) -> Response:
    """Say whether a token is good, and what it may, to a service account that may ask (RFC 7662)."""
    asker = await _authenticated(auth, request, parameters, origin)
    told = await auth.token_status.introspect(asker, Secret(_required(parameters, "token")), origin)
    answer: dict[str, Any] = {"active": False} if told is None else {"active": True, **told}
    return json_response(answer)


@_endpoint
async def revoke(auth: Auth, request: Request, parameters: Parameters, origin: Origin) -> Response:
    """Revoke a token (RFC 7009); one that is not good any more is revoked already."""
    shown = Secret(_required(parameters, "token"))
    client = None if _is_first_party(request, parameters) else await _authenticated(auth, request, parameters, origin)
    await auth.token_status.revoke(shown, client, origin)
    return json_response({})


def _is_first_party(request: Request, parameters: Parameters) -> bool:
    """Say whether the client is the one that people log in with, which is public and has no secret (RFC 6749 §2.1)."""
    proves_something = {"client_secret", "client_assertion"} & parameters.keys() or "authorization" in request.headers
    return not proves_something and parameters.get("client_id", FIRST_PARTY_CLIENT) == FIRST_PARTY_CLIENT


async def _authenticated(auth: Auth, request: Request, parameters: Parameters, origin: Origin) -> Service:
    """Authenticate a client in the one way it chose (RFC 6749 §2.3: no more than one)."""
    headers = request.headers.getlist("authorization")
    ways = [bool(headers), "client_secret" in parameters, "client_assertion" in parameters]
    if sum(ways) > 1 or len(headers) > 1:
        raise OAuthRefused(OAuthFault.INVALID_REQUEST)
    if headers:
        client_id, secret = _basic(headers[0])
        if parameters.get("client_id", client_id) != client_id:
            raise OAuthRefused(OAuthFault.INVALID_REQUEST)
        return await auth.service_login.by_secret(client_id, secret, origin)
    if "client_secret" in parameters:
        client_id, secret = _required(parameters, "client_id"), Secret(parameters["client_secret"])
        return await auth.service_login.by_secret(client_id, secret, origin)
    if "client_assertion" in parameters:
        if parameters.get("client_assertion_type") != _CLIENT_ASSERTION:
            raise OAuthRefused(OAuthFault.INVALID_REQUEST)
        return await auth.service_login.by_assertion(
            Secret(parameters["client_assertion"]), origin, client_id=parameters.get("client_id")
        )
    raise OAuthRefused(OAuthFault.INVALID_CLIENT)


def _basic(header: str) -> tuple[str, Secret]:
    scheme, _, encoded = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError("another scheme")
        decoded = base64.b64decode(encoded.strip(" "), validate=True).decode()
    except (ValueError, binascii.Error) as error:
        raise OAuthRefused(OAuthFault.INVALID_CLIENT) from error
    client_id, _, secret = decoded.partition(":")
    # RFC 6749 §2.3.1: both are form-encoded before they are put together.
    return unquote_plus(client_id), Secret(unquote_plus(secret))


async def _parameters(request: Request, headers: RequestHeaders) -> Parameters:
    if media_type_of(headers) != "application/x-www-form-urlencoded":
        raise OAuthRefused(OAuthFault.INVALID_REQUEST)
    try:
        body = await read_body(request.receive, headers, seconds=_BODY_SECONDS, largest=_LARGEST_BODY)
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except (RequestRefused, ValueError) as error:
        raise OAuthRefused(OAuthFault.INVALID_REQUEST) from error
    if len(dict(pairs)) != len(pairs):
        raise OAuthRefused(OAuthFault.INVALID_REQUEST)
    # RFC 6749 §3.2: a parameter without a value is as one that was left out.
    return {name: value for name, value in pairs if value}


def _required(parameters: Parameters, name: str) -> str:
    if name not in parameters:
        raise OAuthRefused(OAuthFault.INVALID_REQUEST)
    return parameters[name]


def _error(fault: OAuthFault, *, asked_by_header: bool) -> Response:
    unknown_client = fault is OAuthFault.INVALID_CLIENT
    body = {"error": fault.name.lower(), "error_description": fault.value}
    headers = {"www-authenticate": 'Basic realm="watchword"'} if unknown_client and asked_by_header else {}
    return json_response(body, 401 if unknown_client else 400, headers)
