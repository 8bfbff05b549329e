"""Subscriptions, followed as a client follows them: the one place that knows by which transport."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from auth.origin import Origin
from schema import Context, build_schema
from schema.execution import Answer
from schema.requests import GraphQLRequest
from tests.house import Client, House
from web.cookies import CookieNames, NoCookies
from web.credentials import read_credential
from web.request_headers import RequestHeaders

# Many times what it takes: only what is broken runs into it.
PATIENCE = 10.0

_NAMES = CookieNames(secure=False)


class Stream:
    """A subscription under way, and what comes of it."""

    def __init__(self, context: Context, answers: AsyncGenerator[Answer]) -> None:
        self.context = context
        self._answers = answers
        self._next = asyncio.create_task(anext(answers))

    @property
    def has_answered(self) -> bool:
        """Whether something has come that was not taken yet."""
        return self._next.done()

    async def answer(self) -> dict[str, Any]:
        """Wait for what comes next: `data`, and `errors` if there are any. Raises StopAsyncIteration at the end."""
        async with asyncio.timeout(PATIENCE):
            answer: Answer = await self._next
        self._next = asyncio.create_task(anext(self._answers))
        return answer.as_response()

    async def event(self) -> Any:
        """Wait for the next event, and return what its one field holds."""
        answer = await self.answer()
        assert "errors" not in answer, answer["errors"]
        (held,) = answer["data"].values()
        return held

    async def close(self) -> None:
        self._next.cancel()
        await asyncio.wait([self._next])
        await self._answers.aclose()


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
    headers = RequestHeaders((name.lower(), value) for name, value in request.headers.raw)
    context = Context(
        auth=house.auth,
        credential=read_credential(headers, _NAMES),
        origin=Origin(address="127.0.0.1", request_id="a-stream"),
        cookies=NoCookies(),
        request_id="a-stream",
        services=house.runtime.services,
    )
    answers = await build_schema(house.domains).schema.follow(GraphQLRequest(query, variables), context)
    return Stream(context, _alone(answers) if isinstance(answers, Answer) else answers)


async def _alone(answer: Answer) -> AsyncGenerator[Answer]:
    yield answer
