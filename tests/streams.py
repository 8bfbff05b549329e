"""Subscriptions, followed as a client follows them: as server-sent events, in process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from starlette.types import Message

from tests.house import Client, House

# Many times what it takes: only what is broken runs into it.
PATIENCE = 10.0


class Stream:
    """A subscription under way, and what comes of it."""

    def __init__(self, house: House, client: Client, query: str, variables: Mapping[str, Any]) -> None:
        body = {"query": query, "variables": dict(variables)}
        request = client.build_request("POST", "/graphql", json=body, headers={"accept": "text/event-stream"})
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/graphql",
            "query_string": b"",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 1),
        }
        self._sent: Message = {"type": "http.request", "body": request.content}
        self._hung_up = asyncio.Event()
        self.reads = asyncio.Event()  # cleared, the client takes nothing more from the connection
        self.reads.set()
        self._answers: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._served = asyncio.create_task(house(scope, self._receive, self._send))

    @property
    def has_answered(self) -> bool:
        """Whether something has come that was not taken yet."""
        return not self._answers.empty()

    async def answer(self) -> dict[str, Any]:
        """Wait for what comes next: `data`, and `errors` if there are any. Raises StopAsyncIteration at the end."""
        async with asyncio.timeout(PATIENCE):
            answer = await self._answers.get()
        if answer is None:
            raise StopAsyncIteration
        return answer

    async def event(self) -> Any:
        """Wait for the next event, and return what its one field holds."""
        answer = await self.answer()
        assert "errors" not in answer, answer["errors"]
        (held,) = answer["data"].values()
        return held

    async def close(self) -> None:
        """Hang up, and wait until the server has put everything away."""
        self.reads.set()
        self._hung_up.set()
        async with asyncio.timeout(PATIENCE):
            await self._served

    async def _receive(self) -> Message:
        if self._sent["type"] == "http.request":
            sent, self._sent = self._sent, {"type": "http.disconnect"}
            return sent
        await self._hung_up.wait()
        return self._sent

    async def _send(self, message: Message) -> None:
        await self.reads.wait()
        for event in message.get("body", b"").split(b"\n\n"):
            if event.startswith(b"event: next\ndata: "):
                self._answers.put_nowait(orjson.loads(event.removeprefix(b"event: next\ndata: ")))
            elif event.startswith(b"event: complete"):
                self._answers.put_nowait(None)


@asynccontextmanager
async def following(
    house: House, client: Client, query: str, variables: Mapping[str, Any] | None = None
) -> AsyncIterator[Stream]:
    """Subscribe with what a client has to present, and go on once the stream is followed, or refused."""
    listening = listeners(house) + 1
    stream = Stream(house, client, query, variables or {})
    try:
        await until(lambda: stream.has_answered or listeners(house) >= listening)
        yield stream
    finally:
        await stream.close()


async def until(holds: Callable[[], bool]) -> None:
    """Return as soon as it holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.001)


def listeners(house: House) -> int:
    """Return how many follow anything in a house at this moment."""
    return house.auth.activity.listeners + house.auth.publications.listeners
