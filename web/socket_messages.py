"""What is said on a socket: graphql-transport-ws, read and written, and the codes with which a socket is closed.

The protocol: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. Members that it does not know are left
alone. How a conversation goes is told in `web.socket_conversation`.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

from starlette.types import Message

from web.json_gate import read_json
from web.refused import RequestRefused
from web.request_body import LARGEST_BODY
from web.responses import encoded

SUBPROTOCOL = "graphql-transport-ws"

_LONGEST_ID = 128
# A control frame has 125 bytes, two of them the code (RFC 6455 §5.5).
_LONGEST_REASON = 123

_WITHOUT_ID = frozenset({"connection_init", "ping", "pong"})
_WITH_ID = frozenset({"subscribe", "complete"})


class Close(Enum):
    """Why a socket is closed: the code that its client sees, and what it means."""

    INVALID_MESSAGE = (4400, "What was sent is no message of graphql-transport-ws.")
    UNAUTHENTICATED = (4401, "The credential is not good, or not any more, or there was no `connection_init` yet.")
    ANOTHER_TOKEN = (4403, "The token has expired, or its key was revoked: connect again with another one.")
    INIT_TIMEOUT = (4408, "`connection_init` did not come within 3 seconds.")
    ID_TAKEN = (4409, "An operation with this id is still running.")
    INIT_REPEATED = (4429, "`connection_init` came a second time.")
    RESTART = (1012, "The server ends: connect again.")
    UNAVAILABLE = (1013, "The database does not answer: connect again later.")

    @property
    def code(self) -> int:
        """The number that goes over the wire."""
        return self.value[0]


class SocketClosed(Exception):
    """A socket is to be closed, with a code, and a reason that its client may see."""

    def __init__(self, close: Close, reason: str) -> None:
        super().__init__(reason)
        self.close = close
        self.reason = reason.encode(errors="replace")[:_LONGEST_REASON].decode(errors="ignore")


class ClientMessage(NamedTuple):
    """A message of a client's, of a type that clients send; the id is "" where the type has none."""

    type: str
    id: str
    payload: dict[str, Any] | None


def read_message(event: Message) -> ClientMessage:
    """Read what a client sent. Raises `SocketClosed`."""
    text = event.get("text")
    if text is None:
        raise SocketClosed(Close.INVALID_MESSAGE, "Messages are text, not binary.")
    # Whatever cannot be encoded is half of a surrogate pair, and then no UTF-8 to the gate either.
    raw = text.encode(errors="surrogatepass")
    if len(raw) > LARGEST_BODY:
        raise SocketClosed(Close.INVALID_MESSAGE, f"A message has at most {LARGEST_BODY} bytes.")
    try:
        members = read_json(raw)
    except RequestRefused as refused:
        raise SocketClosed(Close.INVALID_MESSAGE, str(refused)) from refused
    if not isinstance(members, dict):
        raise SocketClosed(Close.INVALID_MESSAGE, "A message is a JSON object.")
    return _message(members)


def _message(members: Mapping[str, Any]) -> ClientMessage:
    kind, payload = members.get("type"), members.get("payload")
    if not isinstance(kind, str) or kind not in _WITHOUT_ID | _WITH_ID:
        raise SocketClosed(Close.INVALID_MESSAGE, "Clients send no message of this type.")
    if kind in _WITHOUT_ID:
        if payload is not None and not isinstance(payload, dict):
            raise SocketClosed(Close.INVALID_MESSAGE, f"The payload of {kind} is an object, or left out.")
        return ClientMessage(kind, "", payload)
    name = members.get("id")
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_ID:
        raise SocketClosed(Close.INVALID_MESSAGE, f"The id of {kind} is a string of 1 to {_LONGEST_ID} characters.")
    if kind == "complete":
        return ClientMessage(kind, name, None)
    if not isinstance(payload, dict):
        raise SocketClosed(Close.INVALID_MESSAGE, f"The payload of {kind} is an object.")
    return ClientMessage(kind, name, payload)


def written(kind: str, name: str | None = None, payload: Any = None) -> str:
    """Return a message of the server's."""
    message = {"type": kind}
    if name is not None:
        message["id"] = name
    if payload is not None:
        message["payload"] = payload
    return encoded(message).decode()
