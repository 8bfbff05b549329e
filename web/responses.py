"""The one shape of a refusal outside GraphQL's own errors: the same shape."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Scope, Send

from schema.errors import Code
from web.refused import RequestRefused
from web.state import request_id_of


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
    return json_response(_refusal(code, message, request_id), status, headers)


async def send_refusal(
    send: Send,
    scope: Scope,
    refused: RequestRefused,
    media_type: str,
    more: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send a refusal of a GraphQL request, in the media type of which its client reads errors."""
    body = orjson.dumps(_refusal(refused.code, str(refused), request_id_of(scope)))
    headers = [
        (b"content-type", f"{media_type}; charset=utf-8".encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *((name.encode(), value.encode()) for name, value in refused.headers.items()),
        *more,
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _refusal(code: Code, message: str, request_id: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code.name, "requestId": request_id}}]}
