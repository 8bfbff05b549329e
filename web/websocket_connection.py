"""A connection that has become a WebSocket: uvicorn's, with bounds for what a client sends and does not read.

What is subscribed to, and by whom, is the application's; here frames are counted.
"""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from schema.errors import Code
from web.connection_refusals import Refusal, refusal_body
from web.connections import GuardedConfig

# A segment may bring some 40,000 messages of no byte, and a message have any number of fragments of none.
_MOST_WAITING = 256
_MOST_FRAGMENTS = 256

# uvicorn and websockets write the query string into the log, and at the level of debug what is sent: tokens, both.
_logger = logging.getLogger("uvicorn.error.websocket")
_logger.setLevel(logging.WARNING)


class WebSocketConnection(WebSocketsSansIOProtocol):
    """One connection of a client, from the request that opened the WebSocket on."""

    def __init__(self, config: GuardedConfig, **given: Any) -> None:
        super().__init__(config, **given)
        self._guard = config.connections
        self._not_read_since: float | None = None
        self._closing_since: float | None = None
        self.logger = _logger
        self.conn = _Handshake(config.ws_max_size, self._handshake_refused)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._guard.release(self.transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take frames; and answer a request that is none of a WebSocket, which uvicorn would leave waiting."""
        super().data_received(data)
        if not self.handshake_initiated:
            self.handshake_initiated = self.handshake_complete = self.close_sent = True
            answer = b"".join(self.conn.data_to_send())
            self.transport.write(answer or self._handshake_refused().as_http())
            self.transport.close()
        elif not self.handshake_complete:
            # Before it is accepted a client has nothing to say (RFC 6455, section 4.1).
            self._pause_reading()

    def handle_connect(self, event: Request) -> None:
        """Pass the request for a WebSocket on; who comes when the server ends is told at once."""
        super().handle_connect(event)
        if self._guard.draining:
            self.shutdown()

    def handle_cont(self, event: Frame) -> None:
        """Take a fragment of a message, unless it is one of too many."""
        if len(self.frames) >= _MOST_FRAGMENTS:
            self._fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
        else:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Queue a message, unless too many are waiting or it is no text."""
        if self.queue.qsize() >= _MOST_WAITING:
            self._fail(CloseCode.POLICY_VIOLATION, "too many messages at once")
        elif self.curr_msg_data_type == "text" and not _is_utf_8(b"".join(self.frames)):
            self._fail(CloseCode.INVALID_DATA, "text is UTF-8")
        else:
            super().send_receive_event_to_app()

    def pause_writing(self) -> None:
        """Take nothing more of a client that does not read: each ping would be one more answer to keep for it."""
        self._not_read_since = self._guard.now
        super().pause_writing()
        self._pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._not_read_since = None
        super().resume_writing()
        self._resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        """Give the application the next message."""
        message = await self.queue.get()
        self._resume_reading()
        return message

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the application says; once it has accepted, the client may speak."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            # Refused is answered too: uvicorn would log that the application had given no answer.
            self.handshake_complete = True
        else:
            self._resume_reading()

    def shutdown(self) -> None:
        """Leave it to the application to finish what is under way and to close: it is told as of a client's close."""
        if self._guard.draining:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": CloseCode.SERVICE_RESTART})
        else:
            super().shutdown()

    def leave(self) -> None:
        """Close the connection to a client that was told so and does not answer."""
        if self.close_sent:
            self.transport.close()

    def review(self, now: float) -> None:
        """End the connection if its client does not read, or has not since it was closed."""
        if self.transport.is_closing():
            if self._closing_since is None:
                self._closing_since = now
            elif now - self._closing_since > self._guard.timeout:
                self.transport.abort()
        elif self._not_read_since is not None and now - self._not_read_since > self._guard.timeout:
            self._guard.refused(Refusal.NOT_READ, self.client)
            self.transport.abort()

    def _pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self.read_paused and self.handshake_complete and self.queue.empty() and self.writable.is_set():
            self.read_paused = False
            self.transport.resume_reading()

    def _fail(self, code: CloseCode, reason: str) -> None:
        self.frames = []
        if not self.close_sent:
            self._guard.refused(Refusal.TOO_MANY_AT_ONCE, self.client)
            self.conn.fail(code, reason)
            self.handle_parser_exception()

    def _handshake_refused(self) -> Refusal:
        return self._guard.refused(Refusal.NO_WEBSOCKET, self.client)


class _Handshake(ServerProtocol):
    """websockets' protocol without compression, whose refusals are coded; it would answer in text, and with values."""

    def __init__(self, max_size: int, refused: Callable[[], Refusal]) -> None:
        super().__init__(max_size=max_size, logger=_logger)
        self._refused = refused

    def reject(self, status: HTTPStatus | int, text: str) -> Response:
        """Return the answer to a request that opens no WebSocket."""
        del text
        status = HTTPStatus(status)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            body = refusal_body(Code.INTERNAL, "Something went wrong on our side.")
        else:
            _, code, message = self._refused().value
            body = refusal_body(code, message)
        headers = Headers(
            [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
                ("Connection", "close"),
            ]
        )
        return Response(status.value, status.phrase, headers, body)


def _is_utf_8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
