"""A request as it comes from the server, message by message: what no client library would send."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import ASGIApp, Message

JSON_HEADERS = ((b"content-type", b"application/json"),)


@dataclass(frozen=True)
class RawAnswer:
    """What was sent in return."""

    status: int
    headers: dict[bytes, bytes]
    content: bytes

    @property
    def code(self) -> str:
        """The code of the one error there is."""
        (error,) = orjson.loads(self.content)["errors"]
        return str(error["extensions"]["code"])


async def call(
    app: ASGIApp,
    *chunks: bytes,
    method: str = "POST",
    path: str = "/graphql",
    query_string: bytes = b"",
    headers: Iterable[tuple[bytes, bytes]] = JSON_HEADERS,
    then: str = "http.request",
) -> RawAnswer:
    """Send a request whose body comes in these chunks, and return its answer.

    After the last chunk comes what `then` says: the body's end, `http.disconnect`, or, for "", nothing ever.
    """
    waiting: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    sent: list[Message] = []

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        if not then:
            await asyncio.Future()
        return {"type": then}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query_string,
        "headers": [*headers],
        "client": ("127.0.0.1", 123),
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return RawAnswer(sent[0]["status"], dict(sent[0]["headers"]), content)
