"""An answer in one write: uvicorn writes the head by itself, and then the body.

Two writes are two system calls, and wake the client twice: together a twentieth of a small request.
"""

import asyncio
from collections.abc import Callable

_HEAD = b"HTTP/1.1 "
_INTERIM = b"HTTP/1.1 1"  # "100 Continue": a client waits for it before it sends its body


class OneWrite:
    """Stands before a transport while one request is answered: the head waits for what follows it."""

    __slots__ = ("_close", "_held", "_transport")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self._close = close
        self._held = b""

    def write(self, data: bytes) -> None:
        """Write, or hold a head back: whoever begins an answer goes on with its body at once."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data.startswith(_HEAD) and not data.startswith(_INTERIM):
            self._held = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Write a head that no body follows."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def close(self) -> None:
        """Close the connection, with everything written."""
        self.flush()
        self._close()

    def is_closing(self) -> bool:
        """Say whether the connection is closed, or about to be."""
        return self._transport.is_closing()
