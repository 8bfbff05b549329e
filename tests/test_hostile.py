"""What a stranger sends many times at once keeps nobody waiting: each is answered in time, and so is everybody else."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import orjson
import pytest

from auth.refusals import RateLimited
from schema.turns import MOST_OF_ONE, Turns
from tests.house import PASSWORD, SIGN_UP, Client, House
from tests.running import Server, serving

ORDINARY = b'{"query":"{ __typename }"}'

# Of a stranger's: each takes some 80 ms to validate, and none is like another.
UNKNOWN_FIELDS = " ".join(f'a{number}:"a"' for number in range(480))
# It takes the reader as long as any body that is taken.
MANY_VALUES = b'{"query":"{ __typename }","variables":{"a":[' + b"{}," * 4_990 + b"{}]}}"
TOO_MANY_VALUES = b'{"query":"{ __typename }","variables":{"a":[' + b"{}," * 40_000 + b"{}]}}"
FLOOD = 60


def document(number: int) -> bytes:
    return orjson.dumps({"query": f"mutation A{number} {{ login(input: {{ {UNKNOWN_FIELDS} }}) {{ __typename }} }}"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with the limits that it has by default."""
    generous = {"anonymous_budget": "20000"}
    with serving(tmp_path_factory.mktemp("hostile") / "data", log_format="json", **generous) as running:
        yield running


@asynccontextmanager
async def clients(server: Server, how_many: int) -> AsyncIterator[list[Client]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(server.client()) for _ in range(how_many)]


async def timed(client: Client, body: bytes) -> tuple[float, httpx2.Response]:
    begun = time.monotonic()
    answer = await client.post("/graphql", content=body, headers={"content-type": "application/json"})
    return time.monotonic() - begun, answer


@pytest.mark.parametrize("kind", ["documents", "values", "too many values"])
async def test_a_flood_is_answered_within_two_seconds_and_others_meanwhile_within_one(
    server: Server, kind: str
) -> None:
    bodies = {
        "documents": [document(number) for number in range(FLOOD)],
        "values": [MANY_VALUES] * FLOOD,
        "too many values": [TOO_MANY_VALUES] * FLOOD,
    }[kind]
    async with clients(server, FLOOD + 1) as [ada, *hostile]:
        # Somebody known: what strangers of one address may ask for together, the flood uses up.
        email = f"ada.{kind.replace(' ', '.')}@example.org"
        await ada.ask(SIGN_UP, {"input": {"email": email, "password": PASSWORD, "displayName": "Ada"}})
        await ada.log_in(email)
        for client in (ada, *hostile):
            await timed(client, ORDINARY)  # so that it is connected: our clients take longer for that than the server
        flood = [asyncio.create_task(timed(*pair)) for pair in zip(hostile, bodies, strict=True)]
        waited = []
        while not all(task.done() for task in flood):
            seconds, answer = await timed(ada, ORDINARY)
            assert answer.json() == {"data": {"__typename": "Query"}}
            waited.append(seconds)
        answered = [await task for task in flood]
    assert max(seconds for seconds, _ in answered) < 2
    assert max(waited) < 1
    assert all(
        answer.status_code < 500 and "application/json" in answer.headers["content-type"] for _, answer in answered
    )
    codes = {answer.json()["errors"][0]["extensions"]["code"] for _, answer in answered if "errors" in answer.json()}
    assert codes <= {"RATE_LIMITED", "GRAPHQL_VALIDATION_FAILED", "BAD_REQUEST"}
    assert kind != "documents" or codes == {"RATE_LIMITED", "GRAPHQL_VALIDATION_FAILED"}
    if kind != "values":
        refused = {line.get("code") for line in server.log_lines() if line.get("event") == "request"}
        assert codes <= refused  # the log says what it was


async def test_everybody_has_some_of_the_time_and_a_line_is_empty_afterwards() -> None:
    turns, order = Turns(), []

    async def work(whose: str, number: int) -> None:
        async with turns.turn(whose, MOST_OF_ONE // 4):
            order.append((whose, number))

    tasks = [asyncio.create_task(work("a", number)) for number in range(6)]
    other = asyncio.create_task(work("b", 0))
    results = await asyncio.gather(*tasks, other, return_exceptions=True)
    assert [type(result) for result in results].count(RateLimited) == 2
    assert order == [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 0)]
    for number in range(20):
        await work("a", number)


async def test_a_client_may_begin_with_many_documents_of_ordinary_size(house: House) -> None:
    asking = (house.client().ask(f"{{ a{number}: __typename }}") for number in range(60))
    assert all("errors" not in answer.body for answer in await asyncio.gather(*asking))


async def test_what_was_never_seen_is_prepared_once_however_many_ask_for_it_together(house: House) -> None:
    query = "query Together { viewer { id } }"
    ada = await house.person("ada")
    answers = await asyncio.gather(*(ada.ask(query) for _ in range(8)))
    assert {answer.data["viewer"]["id"] for answer in answers} == {ada.id}
