"""A connection that speaks HTTP: uvicorn's, with deadlines and limits, and coded refusals for what is not HTTP.

uvicorn answers what httptools takes. Here is what neither of them looks at: how large, how many at once, and the
corners of HTTP/1.1 in which a request is smuggled behind another.
"""

import httptools

from web.connection_refusals import LARGEST_HEAD, MOST_HEADERS, Refusal
from web.http_deadlines import BODY, HEAD, NOTHING, REQUEST, TimedConnection
from web.request_body import LARGEST_BODY

# With its framing: in chunks of a byte, a body is six times as large on the wire, and a chunk's extension has no bound.
_LARGEST_ON_THE_WIRE = 8 * LARGEST_BODY
# A segment may have 250 kB. Fed in pieces, no more than one of them is parsed beyond a limit.
_PIECE = 16 * 1024
# A client that pipelines more has everything after the first answer to send again.
_MOST_WAITING = 16


class _Refused(Exception):
    """Raised within the parser, which then stops."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


class HttpConnection(TimedConnection):
    """One connection of a client, from the first byte to the last, or until a WebSocket takes it over."""

    _received = 0
    _hosts = 0

    # What runs with every request names its base: `super()` takes four times as long.

    def data_received(self, data: bytes) -> None:
        """Parse what came, as far as it is within the limits."""
        if len(data) <= _PIECE:
            if self._stage is not NOTHING:
                self._feed(data)
            return
        for start in range(0, len(data), _PIECE):
            if self._stage is NOTHING:
                return
            self._feed(data[start : start + _PIECE])

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._stage = HEAD
        self._hosts = 0
        if self.cycle is not None:  # the first one's time runs from the connection's beginning
            self._since = self._guard.now
        TimedConnection.on_message_begin(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Pass a request on, unless there is something wrong with its header."""
        if len(self.headers) > MOST_HEADERS or (self._received > LARGEST_HEAD and self._head_size() > LARGEST_HEAD):
            raise _Refused(Refusal.HEADER_TOO_LARGE)
        if len(self.pipeline) >= _MOST_WAITING:
            raise _Refused(Refusal.TOO_MANY_AT_ONCE)
        # RFC 9112, section 3.2.
        if self._hosts != 1 and (self._hosts or self.parser.get_http_version() == "1.1"):
            raise _Refused(Refusal.NOT_HTTP)
        if self.parser.should_upgrade():
            self.scope["method"] = self.parser.get_method().decode()
            if self.scope["method"] == "CONNECT":
                raise _Refused(Refusal.NOT_HTTP)
            return  # `_upgrade` follows
        TimedConnection.on_headers_complete(self)
        self._stage = BODY
        self._since = self._guard.now
        # The parser reports trailers as headers. In the request's own list they would pass for what the client, or a
        # proxy that checked it, had sent before the body (RFC 9110, section 6.5.1).
        self.headers = []

    def on_message_complete(self) -> None:
        """Note that all of a request is here."""
        if self._stage is BODY:
            self._stage = REQUEST
            self._since = self._guard.now
            self._received = 0
            TimedConnection.on_message_complete(self)

    def _feed(self, data: bytes) -> None:
        self._received += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.refusal if isinstance(cause, _Refused) else Refusal.NOT_HTTP)
        else:
            if self._received >= LARGEST_HEAD:
                if self._stage is not BODY:
                    self._refuse(Refusal.HEADER_TOO_LARGE)
                elif self._received > _LARGEST_ON_THE_WIRE:
                    self._refuse(Refusal.BODY_TOO_LARGE)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)

    def _upgrade(self, rest: bytes) -> None:
        version = self.parser.get_http_version()
        if self._get_upgrade() == b"websocket" and version == "1.1":
            if self._is_answering or rest:
                # Two would write to one connection; and before the answer a client has nothing to say.
                self._refuse(Refusal.TOO_MANY_AT_ONCE)
            else:
                self._stage = NOTHING
                self.handle_websocket_upgrade()
            return
        # Any other upgrade is ignored, as RFC 9110, section 7.8, allows. The parser has not ignored it: it skipped the
        # body, which would now be taken for a request of its own. So the request is parsed again without the upgrade.
        first = b"%s %s HTTP/%s" % (self.scope["method"].encode(), self.url, version.encode())
        lines = [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._received = 0
        self._feed(b"\r\n".join((first, *lines, b"", rest)))
