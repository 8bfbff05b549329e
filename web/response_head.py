"""The head of an answer as bytes, with what never changes encoded once.

uvicorn looks through the name and the value of every header for what may not stand there, which takes a tenth of a
small request. Most of ours are the same in every answer; those that are not are looked through as before.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# Those with a handful of values each.
_CONSTANT = frozenset(
    {
        b"content-type",
        b"cache-control",
        b"vary",
        b"x-content-type-options",
        b"referrer-policy",
        b"cross-origin-resource-policy",
        b"x-frame-options",
        b"content-security-policy",
        b"strict-transport-security",
    }
)
_MOST_KNOWN = 200

# What decides how the body is framed, and whether the connection is kept, is uvicorn's to read.
_FRAMING = frozenset({b"connection", b"transfer-encoding"})

_known: dict[tuple[bytes, bytes], bytes] = {}


def quick_send(cycle: RequestResponseCycle) -> Send:
    """Return what sends an answer as uvicorn's own does, and writes the head of an ordinary one faster."""
    send: Any = cycle.send

    async def quick(message: MutableMapping[str, Any]) -> None:
        head = _head(cycle, message) if message["type"] == "http.response.start" else None
        if head is None:
            await send(message)
            return
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(head)

    return quick


def _head(cycle: RequestResponseCycle, message: MutableMapping[str, Any]) -> bytes | None:
    """Return the head of an answer whose length is known, or None for any other."""
    if cycle.response_started or cycle.disconnected or cycle.flow.write_paused or not cycle.keep_alive:
        return None
    lines, length = [STATUS_LINE[message["status"]]], None
    for header in (*cycle.default_headers, *message.get("headers", ())):
        line = _known.get(header)
        if line is None:
            name, value = header
            if name in _FRAMING or HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
                return None
            if name == b"content-length":
                length = int(value)
            line = b"%b: %b\r\n" % header
            if name in _CONSTANT and len(_known) < _MOST_KNOWN:
                _known[header] = line
        lines.append(line)
    if length is None:
        return None
    cycle.expected_content_length = length
    cycle.chunked_encoding = False
    lines.append(b"\r\n")
    return b"".join(lines)
