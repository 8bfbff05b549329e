"""Where a connection comes in that is to speak TLS: counted from its first moment, and out in time without a handshake.

asyncio tells its protocol of a connection once the handshake is done. Until then nobody would count it, and a stranger
who opens ten thousand and says nothing would hold every file that the process may open.
"""

import asyncio
import os
import socket
from typing import Any, Self

from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState

from web.connections import GuardedConfig
from web.http_connection import HttpConnection


class TlsEntrance(asyncio.Protocol):
    """A connection until its handshake is done; from then on it is an `HttpConnection`."""

    def __init__(self, config: GuardedConfig, server_state: ServerState, **given: Any) -> None:
        self._config = config
        self._state = server_state
        self._given = given
        self._guard = config.connections
        self._greeting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the handshake, if there is room for one more."""
        if self._guard.admit(self, get_remote_addr(transport)) is None:
            # `loop.start_tls` would do, but that uvloop reads meanwhile, and loses what it has read of the handshake.
            descriptor = os.dup(transport.get_extra_info("socket").fileno())
            self._state.connections.add(self)  # type: ignore[arg-type]
            self._greeting = asyncio.get_running_loop().create_task(self._greet(descriptor))
        transport.abort()

    def get_protocol(self) -> Self:
        """Return what the sweep reviews: this, which has a deadline already."""
        return self

    def review(self, now: float) -> None:
        """Let it be: a handshake ends in time by itself."""

    def shutdown(self) -> None:
        """End, because the server does."""
        if self._greeting is not None:
            self._greeting.cancel()

    def leave(self) -> None:
        """Make room: the connection is counted under another name from now on, or over."""
        self._guard.release(self)
        self._state.connections.discard(self)

    async def _greet(self, descriptor: int) -> None:
        accepted = socket.socket(fileno=descriptor)
        try:
            accepted.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Admitted(self, self._config, server_state=self._state, **self._given),
                accepted,
                ssl=self._config.tls.context,
                ssl_handshake_timeout=self._guard.timeout,
            )
        except OSError:  # it speaks no TLS, or none of ours; it is gone, or too slow
            accepted.close()
        except BaseException:
            accepted.close()
            raise
        finally:
            self.leave()


class _Admitted(HttpConnection):
    def __init__(self, entrance: TlsEntrance, config: GuardedConfig, **given: Any) -> None:
        super().__init__(config, **given)
        self._entrance = entrance

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._entrance.leave()
        super().connection_made(transport)
