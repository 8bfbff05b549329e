"""Subscriptions, followed as a client follows them: the one place that knows by which transport."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from strawberry.types import ExecutionResult

from schema import Context, build_schema
from schema.errors import presented
from tests.house import Client, House
from web.cookies import CookieNames, ResponseCookies
from web.credentials import read_credential, read_origin

# Many times what it takes: only what is broken runs into it.
PATIENCE = 10.0

_NAMES = CookieNames(secure=False)


class Stream:
    """A subscription under way, and what comes of it."""

    def __init__(self, context: Context, results: Any) -> None:
        self.context = context
        self._results = results
        self._next = asyncio.create_task(anext(results))

    @property
    def has_answered(self) -> bool:
        """Whether something has come that was not taken yet."""
        return self._next.done()

    async def answer(self) -> dict[str, Any]:
        """Wait for what comes next: `data`, and `errors` if there are any. Raises StopAsyncIteration at the end."""
        async with asyncio.timeout(PATIENCE):
            result: ExecutionResult = await self._next
        self._next = asyncio.create_task(anext(self._results))
        errors = [presented(error, self.context.request_id).formatted for error in result.errors or []]
        return {"data": result.data, **({"errors": errors} if errors else {})}

    async def event(self) -> Any:
        """Wait for the next event, and return what its one field holds."""
        answer = await self.answer()
        assert "errors" not in answer, answer["errors"]
        (held,) = answer["data"].values()
        return held

    async def close(self) -> None:
        self._next.cancel()
        await asyncio.wait([self._next])
        await self._results.aclose()


@asynccontextmanager
async def following(
    house: House, client: Client, query: str, variables: Mapping[str, Any] | None = None
) -> AsyncIterator[Stream]:
    """Subscribe with what a client has to present, and go on once the stream is followed, or refused."""
    listening = listeners(house) + 1
    stream = await _subscribe(house, client, query, variables or {})
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


async def _subscribe(house: House, client: Client, query: str, variables: Mapping[str, Any]) -> Stream:
    request = client.build_request("POST", "/graphql")
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    connection = HTTPConnection({"type": "http", "headers": headers, "client": ("127.0.0.1", 1)})
    context = Context(
        auth=house.auth,
        credential=read_credential(connection, _NAMES),
        origin=read_origin(connection),
        cookies=ResponseCookies(_NAMES, MutableHeaders(), house.clock),
        request_id="a-stream",
        services=house.runtime.services,
    )
    schema = build_schema(house.domains).schema
    return Stream(context, await schema.subscribe(query, dict(variables), context_value=context))
