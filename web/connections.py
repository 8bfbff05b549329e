"""Who is connected and since when: how many there may be, from where, and what becomes of those that keep waiting.

uvicorn has no deadlines and no caps, so that a stranger could hold its connections for ever. One sweep for all of them,
and no timer for any, looks for those that take too long.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, cast

import structlog
import uvicorn

from store.networks import network_of
from web.connection_refusals import Refusal
from web.tls import Tls
from web.trusted_proxies import Network, TrustedProxies

_log = structlog.get_logger("watchword.connections")

_SWEEP_SECONDS = 1.0
_LOG_SECONDS = 1.0

Client = tuple[str, int] | None  # none when the peer was gone before it could be asked for its address


@dataclass(frozen=True)
class ConnectionLimits:
    """How long a client may take, and how many connections there may be: in all, and from one address.

    Trusted proxies speak for many, so that only the total counts for them.
    """

    timeout: timedelta
    connections: int
    per_address: int
    trusted_proxies: Sequence[Network] = ()


class Reviewed(Protocol):
    """What the sweep asks of a protocol."""

    def review(self, now: float) -> None:
        """End the connection if its client has taken too long."""


class Counted(Protocol):
    """What is counted: a transport, or what stands for it until TLS has begun."""

    def get_protocol(self) -> Any:
        """Return what the sweep reviews."""


class Connections:
    """The open connections of this process, under whichever protocol they are by now.

    They are known by their transports: an upgrade to WebSocket exchanges the protocol, and the count stays.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._proxies = TrustedProxies(limits.trusted_proxies)
        self._origins: dict[Counted, str | None] = {}
        self._from: Counter[str | None] = Counter()
        self._left_out: dict[Refusal, int] = {}
        self.refusals: Counter[Refusal] = Counter()
        self._log_again = 0.0
        self._sweeping = False
        self.coming = 0  # accepted by whoever counts them, and not admitted yet
        # Set when the server ends: then each connection is closed after the next answer.
        self.draining = False
        seconds = limits.timeout.total_seconds()
        self.tick = min(_SWEEP_SECONDS, seconds / 4)
        # What is stamped with the sweep's time may be a tick younger than it says, and is never ended too early.
        self.timeout = seconds + self.tick
        self.now = 0.0

    @property
    def most(self) -> int:
        """How many there may be."""
        return self._limits.connections

    def __len__(self) -> int:
        return len(self._origins)

    def admit(self, transport: Counted, client: Client) -> Refusal | None:
        """Count a new connection, or say why there is no room for it."""
        self.coming = max(self.coming - 1, 0)
        origin = self._origin_of(client)
        if len(self._origins) >= self._limits.connections:
            return self.refused(Refusal.TOO_MANY, client)
        if origin is not None and self._from[origin] >= self._limits.per_address:
            return self.refused(Refusal.TOO_MANY_FROM_ADDRESS, client)
        self._origins[transport] = origin
        self._from[origin] += 1
        if not self._sweeping:
            self._sweeping = True
            loop = asyncio.get_running_loop()
            self.now = loop.time()
            loop.call_later(self.tick, self._sweep, loop)
        return None

    def release(self, transport: Counted) -> None:
        """Forget a connection that is closed; one that was never admitted, or is forgotten already, too."""
        if transport in self._origins:
            origin = self._origins.pop(transport)
            self._from[origin] -= 1
            if not self._from[origin]:
                del self._from[origin]

    def refused(self, refusal: Refusal, client: Client) -> Refusal:
        """Log a refusal, though of each kind no more than one a second: a flood must not fill the disk."""
        self.refusals[refusal] += 1
        if refusal in self._left_out:
            self._left_out[refusal] += 1
        else:
            self._left_out[refusal] = 0
            _log.warning("connection_refused", reason=refusal.name, address=client[0] if client else None)
        return refusal

    def _origin_of(self, client: Client) -> str | None:
        """Return by what a connection is counted, None for a proxy's; those of which nothing is known count as one."""
        address = client[0] if client else ""
        return None if address in self._proxies else network_of(address) or ""

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time()
        if self.now >= self._log_again:
            self._log_again = self.now + _LOG_SECONDS
            self._log_what_was_left_out()
        self._sweeping = bool(self._origins or self._left_out)
        if self._sweeping:
            loop.call_later(self.tick, self._sweep, loop)
        for transport in tuple(self._origins):
            cast("Reviewed", transport.get_protocol()).review(self.now)

    def _log_what_was_left_out(self) -> None:
        flooding = {refusal: left_out for refusal, left_out in self._left_out.items() if left_out}
        for refusal, left_out in flooding.items():
            _log.warning("connections_refused", reason=refusal.name, left_out=left_out)
        self._left_out = dict.fromkeys(flooding, 0)


class GuardedConfig(uvicorn.Config):
    """uvicorn's configuration, which it hands to each protocol that it makes, with the connections among them."""

    connections: Connections
    tls: Tls
