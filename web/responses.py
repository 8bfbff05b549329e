"""The one shape of a refusal outside GraphQL's own errors: the same shape."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from schema.errors import Code


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response that no cache keeps."""
    return Response(
        orjson.dumps(content),
        status_code=status,
        media_type="application/json",
        headers={"cache-control": "no-store", **(headers or {})},
    )


def refusal_response(
    status: int, code: Code, message: str, request_id: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a refusal as a GraphQL client expects it."""
    error = {"message": message, "extensions": {"code": code.name, "requestId": request_id}}
    return json_response({"errors": [error]}, status, headers)
