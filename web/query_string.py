"""A query that came by GET (GraphQL over HTTP §5.3), held to the same gate as a body."""

from typing import Any
from urllib.parse import parse_qsl

from schema.errors import Code
from schema.requests import GraphQLRequest
from web.json_gate import read_graphql_request, read_json
from web.refused import RequestRefused
from web.request_body import LARGEST_BODY
from web.request_headers import RequestHeaders

# What no page can have a browser add to a request unasked: so a preflight went before it (ASVS 3.5.2).
_PREFLIGHTED = (b"apollo-require-preflight", b"graphql-require-preflight", b"x-apollo-operation-name")
_NOT_PREFLIGHTED = f"A query by GET comes with one of the headers {b', '.join(_PREFLIGHTED).decode()}."

_MOST_PARAMETERS = 10


def read_query_string(query_string: bytes, headers: RequestHeaders) -> GraphQLRequest:
    """Return what a query string asks for. Raises `RequestRefused`, also where no preflight can have gone before."""
    if not any(name in headers for name in _PREFLIGHTED):
        raise RequestRefused(403, _NOT_PREFLIGHTED, Code.CSRF_REFUSED)
    if len(query_string) > LARGEST_BODY:
        raise RequestRefused(414, f"The query string has at most {LARGEST_BODY} bytes.")
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"), errors="strict", max_num_fields=_MOST_PARAMETERS, strict_parsing=True
        )
    except ValueError as error:
        raise RequestRefused(400, "The query string cannot be read.") from error
    members: dict[str, Any] = dict(pairs)
    if len(members) != len(pairs):
        raise RequestRefused(400, "A parameter stands twice in the query string.")
    for name in ("variables", "extensions"):
        if name in members:
            members[name] = read_json(members[name])
    return read_graphql_request(members)
