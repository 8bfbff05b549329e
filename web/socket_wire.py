"""Both directions of a socket: messages are read one at a time, and a client that does not read is not waited for."""

import asyncio

from starlette.types import Receive, Send

from schema.turns import Turns
from web.json_gate import LARGE, milliseconds_of
from web.socket_messages import ClientMessage, Close, SocketClosed, read_message

# What a client does not take within this time it will not take any more.
_SEND_SECONDS = 10.0


class ClientGone(Exception):
    """Nobody is there any more, or nobody who reads."""


class SocketWire:
    """A socket that was opened."""

    def __init__(self, receive: Receive, send: Send, turns: Turns) -> None:
        self._receive = receive
        self._send = send
        self._turns = turns

    async def hear(self) -> ClientMessage:
        """Wait for the next message. Raises `SocketClosed` and `ClientGone`."""
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            if event.get("code") == Close.RESTART.code:
                raise SocketClosed(Close.RESTART, "The server ends.")
            raise ClientGone
        if len(event.get("text") or "") <= LARGE:
            return read_message(event)
        async with self._turns.turn(
            "sockets", milliseconds_of(event["text"]), is_patient=True
        ):  # the next message is not taken meanwhile
            return read_message(event)

    async def tell(self, text: str) -> None:
        """Send a message. Raises `ClientGone`."""
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await self._send({"type": "websocket.send", "text": text})
        # A TimeoutError is an OSError, and so is what servers raise for a connection that is closed; for one that the
        # server closed itself, over a message that it would not take, uvicorn raises a RuntimeError.
        except (OSError, RuntimeError) as error:
            raise ClientGone from error

    async def close(self, closed: SocketClosed) -> None:
        """Close the socket, if there is still somebody to see why."""
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await self._send({"type": "websocket.close", "code": closed.close.code, "reason": closed.reason})
        except (OSError, RuntimeError):
            return
