"""What is answered on a connection that the server ends by itself, before any application saw a request.

There is no request yet, and so no id of one: of a flood the log has one line a second, and an id that it does not have
would send people looking for it.
"""

from collections.abc import Sequence
from enum import Enum
from http import HTTPStatus

import orjson

from schema.errors import Code
from web.request_body import LARGEST_BODY

LARGEST_HEAD = 32 * 1024
MOST_HEADERS = 100


class Refusal(Enum):
    """Why the server ends a connection, and what it answers if an answer can still be given."""

    HEADER_TIMEOUT = (408, Code.BAD_REQUEST, "The request line and the headers did not arrive in time.")
    BODY_TIMEOUT = (408, Code.BAD_REQUEST, "The body did not arrive in time.")
    HEADER_TOO_LARGE = (
        431,
        Code.BAD_REQUEST,
        f"The request line and the headers have at most {LARGEST_HEAD} bytes, and {MOST_HEADERS} headers.",
    )
    BODY_TOO_LARGE = (413, Code.BAD_REQUEST, f"The body has at most {LARGEST_BODY} bytes.")
    NOT_HTTP = (400, Code.BAD_REQUEST, "This is not a request of HTTP/1.1.")
    TOO_MANY_AT_ONCE = (400, Code.BAD_REQUEST, "Too much was sent before the first of it was answered.")
    NOT_READ = (408, Code.BAD_REQUEST, "The answer was not read in time.")
    NO_WEBSOCKET = (400, Code.BAD_REQUEST, "No WebSocket is opened by this request.")
    TOO_MANY_FROM_ADDRESS = (503, Code.UNAVAILABLE, "Too many connections are open from this address; try again.")
    TOO_MANY = (503, Code.UNAVAILABLE, "Too many connections are open; try again.")

    def as_http(self, headers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
        """Return the answer as it goes over the wire, for a connection that is closed after it."""
        status, code, message = self.value
        body = refusal_body(code, message)
        lines = [
            b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()),
            *(b"%s: %s" % header for header in headers),
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"cache-control: no-store",
            b"x-content-type-options: nosniff",
            b"connection: close",
        ]
        return b"\r\n".join((*lines, b"", body))


def refusal_body(code: Code, message: str) -> bytes:
    """Return the JSON of a refusal, in the one shape that they all have but for the id."""
    return orjson.dumps({"errors": [{"message": message, "extensions": {"code": code.name}}]})
