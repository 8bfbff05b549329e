"""From a request's body to a GraphQL request, or a coded refusal; nothing is decoded that is too large or not JSON."""

from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from strawberry.http import GraphQLRequestData

from schema.errors import Code

LARGEST_BODY = 128 * 1024


class RequestRefused(Exception):
    """A request that is not GraphQL over HTTP, with the status that says so."""

    def __init__(self, status: int, message: str, code: Code = Code.BAD_REQUEST, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


async def read_graphql_request(request: Request) -> GraphQLRequestData:
    """Read a POST's body. Raises `RequestRefused`."""
    if media_type_of(request) != "application/json":
        # A form or plain text would let any page of the web post here with our cookies and no preflight.
        raise RequestRefused(415, "The body is sent as application/json, in UTF-8.")
    body = _decoded(await _whole(request))
    return GraphQLRequestData(
        query=_member(body, "query", str, "a string") or "",
        variables=_member(body, "variables", dict, "an object"),
        operation_name=_member(body, "operationName", str, "a string"),
        extensions=_member(body, "extensions", dict, "an object"),
    )


def media_type_of(request: Request) -> str:
    """Return the media type of a body in UTF-8, or what is none: for two headers, or another character set."""
    headers = request.headers.getlist("content-type")
    media_type, *parameters = headers[0].lower().split(";") if len(headers) == 1 else [""]
    charsets = [value for name, _, value in (part.strip().partition("=") for part in parameters) if name == "charset"]
    return media_type.strip() if all(charset.strip('"') == "utf-8" for charset in charsets) else "another charset"


async def _whole(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST_BODY:
                raise RequestRefused(413, f"The body has at most {LARGEST_BODY} bytes.")
    except ClientDisconnect as error:
        raise RequestRefused(400, "The body broke off.") from error
    return bytes(body)


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestRefused(400, "The body is not JSON in UTF-8.") from error
    if not isinstance(value, dict):
        raise RequestRefused(400, "The body is a JSON object; batches are not taken.")
    return value


def _member(body: dict[str, Any], name: str, kind: type, words: str) -> Any:
    value = body.get(name)
    if value is not None and not isinstance(value, kind):
        raise RequestRefused(400, f"`{name}` is {words}, or left out.")
    return value
