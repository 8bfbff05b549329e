"""How answers are written, and the one shape of a refusal outside GraphQL's own errors: the same shape."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Message, Scope, Send

from schema.errors import Code
from web.refused import RequestRefused
from web.state import note_refusal, request_id_of


def encoded(content: Any) -> bytes:
    """Return JSON. A domain's own scalar may hold what strangers sent it, whatever that is: it is written, too."""
    try:
        return orjson.dumps(content)
    except TypeError:  # an integer of more than 64 bits, or half of a surrogate pair
        return json.dumps(content).encode()


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response that no cache keeps."""
    return Response(
        orjson.dumps(content),
        status_code=status,
        media_type="application/json",
        headers={"cache-control": "no-store", **(headers or {})},
    )


async def refuse_socket(send: Send, scope: Scope, refused: RequestRefused) -> None:
    """Answer the request for a socket as an HTTP request is answered; a server that cannot closes it, with 403."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        note_refusal(scope, refused.code.name, str(refused), **refused.logged)
        await send({"type": "websocket.close"})
        return

    async def send_instead(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    await send_refusal(send_instead, scope, refused, "application/json")


def refusal_response(
    scope: Scope, status: int, code: Code, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a refusal as a GraphQL client expects it, noted for the log."""
    note_refusal(scope, code.name)
    return json_response(_refusal(code, message, request_id_of(scope)), status, headers)


async def send_refusal(
    send: Send,
    scope: Scope,
    refused: RequestRefused,
    media_type: str,
    more: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send a refusal of a GraphQL request, in the media type of which its client reads errors; the log has it too."""
    note_refusal(scope, refused.code.name, str(refused), **refused.logged)
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
