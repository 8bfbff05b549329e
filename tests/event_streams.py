"""An event stream of a house, read as HTML §9.2.6 says, by a client that can also stop reading or hang up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from tests.house import Client, House
from tests.sockets import PATIENCE

EVENT_STREAM = "text/event-stream"


class EventStream:
    """The client's end."""

    def __init__(self, house: House, scope: dict[str, Any], body: bytes) -> None:
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._room = asyncio.Event()
        self._room.set()
        self._buffer = b""
        self._has_ended = False
        self.is_waited_for = False
        self._inbox.put_nowait({"type": "http.request", "body": body})
        self._app = asyncio.create_task(house(scope, self._inbox.get, self._take))

    async def _take(self, message: Any) -> None:
        self.is_waited_for = not self._room.is_set()
        await self._room.wait()
        self._outbox.put_nowait(message)

    async def begun(self) -> tuple[int, dict[str, str]]:
        """Return the status and the headers."""
        start = await self._message()
        assert start["type"] == "http.response.start", start
        return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}

    async def event(self) -> tuple[str, Any] | None:
        """Return the name and the data of the next event, None when the stream has ended; comments are passed over."""
        name, data = "", b""
        while (line := await self.line()) is not None:
            if not line and name:
                return name, orjson.loads(data) if data else None
            field, _, value = line.partition(b":")
            match field:
                case b"event":
                    name = value.removeprefix(b" ").decode()
                case b"data":
                    data += value.removeprefix(b" ")
                case _:
                    assert not field, line  # a comment, or an empty line
        return None

    async def line(self) -> bytes | None:
        """Return the next line, None when the stream has ended."""
        while b"\n" not in self._buffer:
            if self._has_ended:
                assert not self._buffer
                return None
            message = await self._message()
            self._buffer += message["body"]
            self._has_ended = not message.get("more_body", False)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    async def told(self, field: str = "notices") -> Any:
        """Return what the next event of a subscription has."""
        event = await self.event()
        assert event is not None
        assert event[0] == "next", event
        return event[1]["data"][field]

    async def refusal(self) -> dict[str, Any]:
        """Return the extensions of the one error of the next event, which is the last one."""
        event = await self.event()
        assert event is not None
        (error,) = event[1].pop("errors")
        assert event == ("next", {})
        assert await self.event() == ("complete", None)
        assert await self.event() is None
        extensions: dict[str, Any] = error["extensions"]
        return extensions

    @property
    def has_nothing_to_say(self) -> bool:
        return self._outbox.empty()

    def stop_reading(self) -> None:
        """Take nothing any more: whatever the server sends waits."""
        self._room.clear()

    async def hang_up(self) -> None:
        """Close the connection, and wait until the application has nothing to do with it any more."""
        self._inbox.put_nowait({"type": "http.disconnect"})
        self._room.set()
        async with asyncio.timeout(PATIENCE):
            await self._app

    async def _message(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            return await self._outbox.get()


@asynccontextmanager
async def streaming(
    house: House, client: Client | None, query: str, *, accept: str = EVENT_STREAM, **headers: str
) -> AsyncIterator[EventStream]:
    """Post an operation for its event stream, and hang up at the end."""
    own = {"accept": accept, **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = (client or house.client()).build_request("POST", "/graphql", json={"query": query}, headers=own)
    stream = EventStream(
        house,
        {
            "type": "http",
            "method": "POST",
            "path": "/graphql",
            "query_string": b"",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 4711),
        },
        request.content,
    )
    try:
        yield stream
    finally:
        await stream.hang_up()
