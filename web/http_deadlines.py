"""uvicorn's connection with deadlines: who sends a request too slowly, or does not read its answer, is disconnected."""

import asyncio
from enum import Enum, auto
from typing import Any, Final

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from web.connection_refusals import Refusal
from web.connections import GuardedConfig
from web.one_write import OneWrite
from web.response_head import quick_send


class _Stage(Enum):
    REQUEST = auto()
    HEAD = auto()
    BODY = auto()
    NOTHING = auto()


# What the parser waits for; with `NOTHING` the connection is as good as closed, and what still comes is not looked at.
REQUEST: Final = _Stage.REQUEST
HEAD: Final = _Stage.HEAD
BODY: Final = _Stage.BODY
NOTHING: Final = _Stage.NOTHING


class TimedConnection(HttpToolsProtocol):
    """A connection that is counted, and reviewed by the sweep over all of them."""

    def __init__(self, config: GuardedConfig, **given: Any) -> None:
        super().__init__(config, **given)
        self._guard = config.connections
        self._stage = REQUEST
        self._since = 0.0
        self._not_read_since: float | None = None
        self._ended = False
        # uvicorn's `cycle` is the request that came last; with pipelining that is not the one being answered.
        self._answering: RequestResponseCycle | None = None
        self._writes: OneWrite | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room for one more."""
        super().connection_made(transport)
        if (refusal := self._guard.admit(transport, self.client)) is not None:
            self._stage = NOTHING
            transport.write(refusal.as_http(self.server_state.default_headers))
            transport.close()
        self._since = self._guard.now

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and tell whoever still makes an answer."""
        self._guard.release(self.transport)
        self.pipeline.clear()
        self._disconnect()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Begin with the next request; when there is none, the sweep does what uvicorn has a timer for."""
        self.server_state.total_requests += 1
        if self._writes is not None and self._answering is not None:
            self._writes.flush()
            # It holds the cycle that holds it: left so, each request would be the garbage collector's to find.
            vars(self._answering).pop("send", None)
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._stage is not BODY:
            self._since = self._guard.now

    def pause_writing(self) -> None:
        """Note since when the client has not read."""
        self._not_read_since = self._guard.now
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that it reads again."""
        self._not_read_since = None
        super().resume_writing()

    def shutdown(self) -> None:
        """Answer what is under way, or what comes next, and close."""
        if not self._guard.draining:
            super().shutdown()
        elif self._is_answering:
            self.cycle.keep_alive = False

    def leave(self) -> None:
        """Close the connection if nothing is under way on it."""
        if self._stage is REQUEST and not self._is_answering:
            self.transport.close()

    def review(self, now: float) -> None:
        """End the connection if its client has taken too long."""
        if self.transport.is_closing() or (self._stage is NOTHING and not self._is_answering):
            self._review_end(now)
        elif self._not_read_since is not None:
            if now - self._not_read_since > self._guard.timeout:
                self._guard.refused(Refusal.NOT_READ, self.client)
                self.transport.abort()
        elif self._stage is BODY:
            self._review_body(now)
        elif not self._is_answering:
            self._review_head(now)

    def _review_end(self, now: float) -> None:
        if not self._ended:
            self._ended, self._since = True, now
        elif now - self._since > (self._guard.timeout if self.transport.is_closing() else self._guard.tick):
            # The last that was written waits for a client that may never read it.
            self.transport.abort()

    def _review_body(self, now: float) -> None:
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:
            self._since = now  # it is we who let the client wait
        elif now - self._since > self._guard.timeout + self._guard.tick:  # whoever reads it is the first to say so
            self._refuse(Refusal.BODY_TIMEOUT)

    def _review_head(self, now: float) -> None:
        if self._stage is REQUEST and self.cycle is not None:
            if now - self._since > self.timeout_keep_alive:
                self.transport.close()
        elif now - self._since > self._guard.timeout:
            self._refuse(Refusal.HEADER_TIMEOUT)

    def _refuse(self, refusal: Refusal) -> None:
        """Take no more of this client, and say why, where that cannot be taken for the answer to another request."""
        self._guard.refused(refusal, self.client)
        stage, self._stage = self._stage, NOTHING
        self.pipeline.clear()
        answering = self._answering
        its_own_body = stage is BODY and answering is self.cycle
        if answering is not None and self._is_answering and not its_own_body:
            answering.keep_alive = False
            self.flow.pause_reading()
            return
        self._disconnect()
        if stage is REQUEST or (its_own_body and answering is not None and answering.response_started):
            self.transport.close()
            return
        self.transport.write(refusal.as_http(self.server_state.default_headers))
        self._half_close()

    @property
    def _is_answering(self) -> bool:
        return self._answering is not None and not self._answering.response_complete

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        if self._guard.draining and not self.pipeline:
            cycle.keep_alive = False
        self._writes = OneWrite(self.transport, self._close_answered)
        # It is all that a cycle uses of a transport.
        cycle.transport = self._writes  # type: ignore[assignment]
        cycle.send = quick_send(cycle)  # type: ignore[method-assign, assignment]
        super()._start_asgi_task(cycle, app)

    def _close_answered(self) -> None:
        """Close after an answer; while the client still sends, only our half: the answer would be lost on its way."""
        if self._stage is BODY:
            self._stage = NOTHING
            self._half_close()
        else:
            self.transport.close()

    def _half_close(self) -> None:
        """Write no more. Closed at once, with something unread from the client, the answer would be lost by a reset."""
        # TLS has no half that could be closed: the answer says how long it is, and the sweep ends the connection.
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _disconnect(self) -> None:
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
