"""A line of log for every request, under an id that the answer carries too: which operation, and what was refused.

No query string, no body, and no header but the Origin of a page that was refused. A socket has its line at its end.
"""

import time
from collections.abc import Mapping

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auth.ids import new_id
from schema.context import Context
from schema.errors import Code
from web.client_address import ClientAddress
from web.metrics_counts import Counts
from web.responses import refusal_response
from web.shown import shown
from web.state import context_of, name_request, operations_of, refusal_of

_log = structlog.get_logger("watchword.access")

_LONGEST_PATH = 500
_LONGEST_NAME = 100
_NOTHING: Mapping[str, str] = {}

# RFC 6455 §7.4.1: a connection that was lost without a word; and a server that cannot go on.
_LOST = 1006
_INTERNAL = 1011


class AccessLog:
    """Names requests, logs and counts them, and is the last to catch what nobody caught."""

    def __init__(self, app: ASGIApp, *, addresses: ClientAddress, counts: Counts) -> None:
        self._app = app
        self._addresses = addresses
        self._counts = counts
        self._log = _log.bind()  # once: the module's logger would be put together anew for every line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and log how it ended."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        # Made here and never taken from the client: an id that strangers choose can forge the log.
        request_id, address = new_id(), self._addresses.of(scope)
        name_request(scope, request_id, address)
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send, request_id, address)
            return
        begun, status = time.perf_counter(), 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception:
            self._log.exception("unhandled_error", request_id=request_id)
            if status:
                raise  # the answer has begun: only the server can cut it off
            message = "Something went wrong on our side."
            await refusal_response(scope, 500, Code.INTERNAL, message)(scope, receive, send_named)
        finally:
            seconds, context, refused = time.perf_counter() - begun, context_of(scope), refusal_of(scope)
            self._counts.request(scope["path"], status, context, refused.get("code"), seconds)
            self._log.info(
                "request",
                request_id=request_id,
                method=scope["method"],
                path=shown(scope["path"], _LONGEST_PATH),
                status=status,
                milliseconds=round(seconds * 1000, 2),
                address=address,
                **named(context),
                **refused,
            )

    async def _socket(self, scope: Scope, receive: Receive, send: Send, request_id: str, address: str | None) -> None:
        self._counts.sockets_open += 1
        # A server answers a socket that is closed before it was accepted with 403.
        begun, status, close_code = time.perf_counter(), 403, _LOST

        async def receive_noted() -> Message:
            nonlocal close_code
            message = await receive()
            if message["type"] == "websocket.disconnect":
                close_code = message.get("code", _LOST)
            return message

        async def send_named(message: Message) -> None:
            nonlocal status, close_code
            if message["type"] in {"websocket.accept", "websocket.http.response.start"}:
                status = message.get("status", 101)
                message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", request_id.encode())]}
            elif message["type"] == "websocket.close":
                close_code = message.get("code", 1000)
            await send(message)

        try:
            await self._app(scope, receive_noted, send_named)
        except Exception:  # noqa: BLE001 - raised again it would only be logged again
            self._log.exception("unhandled_error", request_id=request_id)
            if close_code == _LOST:
                await send_named({"type": "websocket.close", "code": _INTERNAL, "reason": "INTERNAL"})
        finally:
            self._counts.sockets_open -= 1
            refused = refusal_of(scope)
            if refused:
                self._counts.refused(refused["code"])
            self._log.info(
                "socket",
                request_id=request_id,
                path=shown(scope["path"], _LONGEST_PATH),
                status=status,
                close_code=close_code if status == 101 else None,  # noqa: PLR2004 - "switching protocols"
                operations=operations_of(scope),
                milliseconds=round((time.perf_counter() - begun) * 1000, 2),
                address=address,
                **refused,
            )


def named(context: Context | None) -> Mapping[str, str]:
    """Return what a line of log says of an operation, if there is one that is valid."""
    if context is None or (operation := context.operation) is None:
        return _NOTHING
    if (name := operation.name) is None:
        return {"type": operation.kind}
    return {"type": operation.kind, "operation": name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"}
