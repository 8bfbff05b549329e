"""A WebSocket to a house, message by message: what stands in for the server and the client at its other end."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import orjson

from tests.house import Client, House

# Many times what it takes: only what is broken runs into it.
PATIENCE = 10.0

PROTOCOL = "graphql-transport-ws"
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Refused(Exception):
    """A socket that was not opened; without the answer that says why, if the server can only close it."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        super().__init__(status, body)
        self.status = status
        self.extensions: dict[str, Any] = orjson.loads(body)["errors"][0]["extensions"] if body else {}


class Socket:
    """The client's end."""

    def __init__(self, house: House, scope: dict[str, Any]) -> None:
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._room = asyncio.Event()
        self._room.set()
        self._inbox.put_nowait({"type": "websocket.connect"})
        self._app = asyncio.create_task(house(scope, self._inbox.get, self._take))

    async def _take(self, message: Any) -> None:
        await self._room.wait()
        self._outbox.put_nowait(message)

    async def accepted(self) -> dict[str, Any]:
        """Return how the server opened the socket. Raises `Refused`."""
        answer = await self._event()
        if answer["type"] == "websocket.accept":
            return answer
        if answer["type"] == "websocket.close":
            raise Refused(403)
        raise Refused(answer["status"], (await self._event())["body"])

    async def begin(self, **parameters: Any) -> dict[str, Any]:
        """Send `connection_init`, and return what comes of it."""
        self.say(type="connection_init", payload=parameters)
        return await self.hear()

    def say(self, **message: Any) -> None:
        """Send a message."""
        self.say_text(orjson.dumps(message).decode())

    def say_text(self, text: str) -> None:
        self._inbox.put_nowait({"type": "websocket.receive", "text": text})

    def say_bytes(self, data: bytes) -> None:
        self._inbox.put_nowait({"type": "websocket.receive", "bytes": data})

    def subscribe(self, query: str, name: str = "1", **more: Any) -> None:
        """Begin an operation."""
        self.say(type="subscribe", id=name, payload={"query": query, **more})

    async def ask(self, query: str, name: str = "1", **more: Any) -> dict[str, Any]:
        """Return the one answer to an operation, having seen it complete."""
        self.subscribe(query, name, **more)
        answer = await self.hear()
        assert (answer["type"], answer["id"]) == ("next", name), answer
        assert await self.hear() == {"type": "complete", "id": name}
        payload: dict[str, Any] = answer["payload"]
        return payload

    async def hear(self) -> dict[str, Any]:
        """Return the next message."""
        event = await self._event()
        assert event["type"] == "websocket.send", event
        message: dict[str, Any] = orjson.loads(event["text"])
        return message

    async def told(self, field: str = "notices") -> Any:
        """Return what the next event of a subscription has."""
        return (await self.hear())["payload"]["data"][field]

    async def refusal(self, name: str = "1") -> dict[str, Any]:
        """Return the extensions of the one error that an operation is ended with."""
        message = await self.hear()
        assert (message["type"], message["id"]) == ("error", name), message
        (error,) = message["payload"]
        extensions: dict[str, Any] = error["extensions"]
        return extensions

    async def closed(self) -> tuple[int, str]:
        """Return the code and the reason with which the server closes the socket, when it is done with it."""
        event = await self._event()
        assert event["type"] == "websocket.close", event
        assert len(event["reason"].encode()) <= 123
        await self.over()
        return event["code"], event["reason"]

    @property
    def has_nothing_to_say(self) -> bool:
        return self._outbox.empty()

    def stop_reading(self) -> None:
        """Take nothing any more: whatever the server sends waits."""
        self._room.clear()

    async def over(self) -> None:
        """Wait until the application has nothing to do with the socket any more."""
        async with asyncio.timeout(PATIENCE):
            await self._app

    async def hang_up(self, code: int = 1000) -> None:
        """Close it from this end."""
        self._room.set()
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": code})
        await self.over()

    async def _event(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            return await self._outbox.get()


@asynccontextmanager
async def connecting(
    house: House,
    client: Client | None = None,
    *,
    protocols: Sequence[str] = (PROTOCOL,),
    path: str = "/graphql",
    can_refuse: bool = True,
    headers: Mapping[str, str] = NO_HEADERS,
) -> AsyncIterator[Socket]:
    """Ask for a socket with the cookies of a client, and hang up at the end."""
    request = (client or house.client()).build_request("GET", path)
    cookies = [(b"cookie", value.encode()) for value in request.headers.get_list("cookie")]
    more = [(name.encode(), value.encode()) for name, value in headers.items()]
    socket = Socket(
        house,
        {
            "type": "websocket",
            "path": path,
            "query_string": b"",
            "headers": [*cookies, *more],
            "subprotocols": list(protocols),
            "client": ("127.0.0.1", 4711),
            "extensions": {"websocket.http.response": {}} if can_refuse else {},
        },
    )
    try:
        yield socket
    finally:
        await socket.hang_up()


@asynccontextmanager
async def conversing(
    house: House, client: Client | None = None, *, token: str | None = None, headers: Mapping[str, str] = NO_HEADERS
) -> AsyncIterator[Socket]:
    """Open a socket with the cookies of a client or with a token, and go on once it is known who calls."""
    async with connecting(house, client, headers=headers) as socket:
        await socket.accepted()
        answer = await socket.begin(**({} if token is None else {"authorization": f"Bearer {token}"}))
        assert answer == {"type": "connection_ack"}
        yield socket
