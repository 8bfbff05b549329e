"""Budgets: how much work each identity may ask for in a minute, and that nobody pays for another.

Several processes have one budget together, but for the share that each can spend before it has told the others.
"""

import asyncio
import random
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import ANY

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from structlog.testing import capture_logs

from auth.budget_exchange import SHARE
from auth.budgets import MOST_REMEMBERED, Budgets
from auth.gate import Credential
from auth.identity import Identity, IdentityKind
from auth.origin import Origin
from auth.policy import Policy
from auth.refusals import RateLimited
from auth.secret import Secret
from schema.context import CHARACTERS_A_POINT, NEW_DOCUMENT
from store import Statement, StoreUnavailable
from store.locations import PostgreSQL
from store.tables import throttles
from tests.documents import CREATE_API_TOKEN
from tests.faults import locked
from tests.house import Client, House, MovableClock, OpenHouse
from tests.streams import until

ON_BOTH_ENGINES = True

ADA = Identity(IdentityKind.USER, "ada")
ROBOT = Identity(IdentityKind.SERVICE, "robot")

RATE_LIMIT = "{ rateLimit { limit cost remaining resetAt } }"


def nobody(address: str | None) -> Identity:
    return Identity(IdentityKind.ANONYMOUS, origin=Origin(address))


def opened(limit: int = 60, anonymous: int = 6) -> tuple[Budgets, MovableClock]:
    """Return budgets whose clock stands still."""
    clock = MovableClock()
    clock.stop()
    return Budgets(Policy("x", budget=limit, anonymous_budget=anonymous), clock), clock


def left(budgets: Budgets, identity: Identity, cost: int) -> int:
    budget = budgets.spend(identity, cost)
    assert budget is not None
    return budget.remaining


def test_what_an_operation_costs_is_taken_and_comes_back_within_a_minute() -> None:
    budgets, clock = opened()
    budget = budgets.spend(ADA, 25)
    assert budget is not None
    assert budget[:3] == (60, 25, 35)
    assert budget.reset_at == pytest.approx(clock.now().timestamp() + 25)
    clock.move(timedelta(seconds=10))
    assert left(budgets, ADA, 0) == 45
    clock.move(timedelta(seconds=15))
    assert left(budgets, ADA, 0) == 60
    clock.move(timedelta(days=1))
    assert left(budgets, ADA, 1) == 59  # no more is saved up than a minute's


def test_an_exhausted_budget_is_refused_with_when_it_is_enough_again_and_nothing_is_taken() -> None:
    budgets, clock = opened()
    left(budgets, ADA, 55)
    for _ in range(3):
        with pytest.raises(RateLimited) as refused:
            budgets.spend(ADA, 10)
        assert refused.value.seconds == 5
    assert left(budgets, ADA, 5) == 0
    with pytest.raises(RateLimited):
        budgets.spend(ADA, 1)
    clock.move(timedelta(seconds=1))
    assert left(budgets, ADA, 1) == 0


def test_what_costs_more_than_a_whole_budget_needs_a_full_one() -> None:
    budgets, clock = opened()
    assert left(budgets, ADA, 1_000) == 0
    clock.move(timedelta(seconds=59))
    with pytest.raises(RateLimited) as refused:
        budgets.spend(ADA, 1_000)
    assert refused.value.seconds == 1
    clock.move(timedelta(seconds=1))
    assert left(budgets, ADA, 1_000) == 0


def test_each_identity_has_a_budget_of_its_own() -> None:
    budgets, _ = opened()
    left(budgets, ADA, 60)
    assert left(budgets, ROBOT, 10) == 50
    assert left(budgets, nobody("192.0.2.1"), 6) == 0
    assert left(budgets, nobody("192.0.2.2"), 6) == 0
    with pytest.raises(RateLimited):
        budgets.spend(nobody("192.0.2.1"), 1)


@pytest.mark.parametrize(("one", "other"), [("2001:db8::1", "2001:db8::ffff:1"), (None, None), ("", None)])
def test_strangers_of_one_network_share_one(one: str | None, other: str | None) -> None:
    budgets, _ = opened()
    left(budgets, nobody(one), 6)
    with pytest.raises(RateLimited):
        budgets.spend(nobody(other), 1)


async def test_an_api_token_spends_what_is_its_owners(open_house: OpenHouse) -> None:
    house = await open_house(budget=1_000)
    ada = await house.person("ada")
    made = await ada.ask(CREATE_API_TOKEN, {"input": {"name": "script", "scopes": ["profile:read"]}})
    token = Secret(made.data["createApiToken"]["token"])
    identity = (await house.auth.gate.authenticate(Credential(token))).identity
    assert identity.token_id
    house.clock.move(timedelta(minutes=1))
    house.clock.stop()
    assert left(house.auth.budgets, identity, 30) == 970
    assert left(house.auth.budgets, Identity(IdentityKind.USER, identity.subject, session_id="x"), 30) == 940


def test_no_limit_is_no_budget() -> None:
    budgets, _ = opened(limit=0, anonymous=0)
    assert [budgets.spend(identity, 10**9) for identity in (ADA, ROBOT, nobody("192.0.2.1"))] == [None] * 3


def test_a_clock_that_is_set_back_keeps_nobody_waiting() -> None:
    budgets, clock = opened()
    left(budgets, ADA, 60)
    clock.move(-timedelta(days=365))
    assert left(budgets, ADA, 1) == 59


def test_a_crowd_of_strangers_fills_no_memory_and_makes_nobody_known_forgotten() -> None:
    budgets, _ = opened()
    left(budgets, ADA, 60)
    left(budgets, nobody("first"), 6)
    for number in range(MOST_REMEMBERED):
        left(budgets, nobody(f"stranger {number}"), 1)
    assert left(budgets, nobody("first"), 0) == 6  # forgotten, and begins anew
    with pytest.raises(RateLimited):
        budgets.spend(nobody(f"stranger {MOST_REMEMBERED - 1}"), 6)
    with pytest.raises(RateLimited):
        budgets.spend(ADA, 1)


@given(
    st.integers(min_value=1, max_value=200_000),
    st.lists(
        st.tuples(st.integers(min_value=0, max_value=250_000), st.integers(min_value=0, max_value=90)), max_size=60
    ),
)
def test_whatever_is_asked_for_no_more_is_spent_than_a_full_budget_and_what_comes_back(
    limit: int, operations: list[tuple[int, int]]
) -> None:
    budgets, clock = opened(limit)
    begun, spent = clock.now(), 0
    for cost, pause in operations:
        clock.move(timedelta(seconds=pause))
        try:
            remaining = left(budgets, ADA, cost)
        except RateLimited:
            continue
        spent += min(cost, limit)
        assert 0 <= remaining <= limit
        passed = (clock.now() - begun).total_seconds()
        assert spent <= limit * (1 + passed / 60) + 1


# The field


async def asked(client: Client, query: str = RATE_LIMIT) -> dict[str, Any] | None:
    answer: dict[str, Any] | None = (await client.ask(query)).data["rateLimit"]
    return answer


async def test_the_field_and_the_headers_say_what_the_operation_cost_and_what_is_left(open_house: OpenHouse) -> None:
    house = await open_house(anonymous_budget=1_000)
    house.clock.stop()
    nobody = house.client()
    first = await nobody.ask(RATE_LIMIT)
    assert first.data["rateLimit"] == {
        "limit": 1_000,
        "cost": NEW_DOCUMENT + len(RATE_LIMIT) // CHARACTERS_A_POINT + 5,  # the text was not seen before
        "remaining": 891,
        "resetAt": ANY,
    }
    assert first.response.headers["ratelimit"].endswith(";t=7")  # after 6.3 seconds: not before
    answer = await nobody.ask(RATE_LIMIT)
    assert (answer.data["rateLimit"]["cost"], answer.data["rateLimit"]["remaining"]) == (5, 886)
    assert answer.response.headers["ratelimit-policy"] == '"default";q=1000;w=60'
    assert answer.response.headers["ratelimit"] == '"default";r=886;t=7'


async def test_without_a_limit_there_is_nothing_to_say(open_house: OpenHouse) -> None:
    nobody = (await open_house(anonymous_budget=0)).client()
    assert await asked(nobody) is None
    assert "ratelimit" not in (await nobody.ask(RATE_LIMIT)).response.headers


async def test_beyond_the_budget_an_operation_is_refused_before_it_runs_and_the_answer_says_when_to_come_back(
    open_house: OpenHouse,
) -> None:
    house = await open_house(anonymous_budget=500, budget=1_000)
    ada, nobody = await house.person("ada"), house.client()
    house.clock.move(timedelta(minutes=1))
    house.clock.stop()
    while (answer := await nobody.ask(RATE_LIMIT)).response.status_code == 200:
        assert answer.data["rateLimit"]["remaining"] >= 0
    assert answer.code == "RATE_LIMITED"
    assert "data" not in answer.body
    assert answer.response.status_code == 429
    assert answer.response.headers["retry-after"] == str(answer.refusal["retryAfter"]) == "1"
    assert answer.body["errors"][0]["message"].startswith("More was asked for than this minute's budget has left")
    assert answer.response.headers["ratelimit-policy"] == '"default";q=500;w=60'
    assert answer.response.headers["ratelimit"].endswith(";t=60")
    assert (await ada.ask(RATE_LIMIT)).response.status_code == 200  # a person has a budget of their own
    house.clock.move(timedelta(seconds=answer.refusal["retryAfter"]))
    assert (await nobody.ask(RATE_LIMIT)).response.status_code == 200


async def test_documents_that_were_never_seen_are_paid_for_before_they_are_looked_at(open_house: OpenHouse) -> None:
    house = await open_house(anonymous_budget=450)
    house.clock.stop()
    answers = [await house.client().ask(f"{{ nothing{number} }}") for number in range(6)]
    codes = [answer.code for answer in answers]
    assert codes == ["GRAPHQL_VALIDATION_FAILED"] * 4 + ["RATE_LIMITED"] * 2


# Several processes

LIMIT = 6_000  # a point comes back in ten milliseconds
A_SHARE = int(LIMIT * SHARE / 60)
MINUTE = timedelta(minutes=1)


async def processes(open_house: OpenHouse, number: int = 2) -> list[House]:
    """Return so many on one database, with clocks that stand still."""
    short = {"database_timeout": "PT0.2S"}
    houses = [await open_house(budget=LIMIT, anonymous_budget=LIMIT, **short) for _ in range(number)]
    for house in houses:
        house.clock.stop()
    return houses


def move(houses: Sequence[House], by: timedelta) -> None:
    for house in houses:
        house.clock.move(by)


def taken(budgets: Budgets, identity: Identity, cost: int) -> int:
    """Spend, and return the cost, or 0 if it was refused."""
    try:
        left(budgets, identity, cost)
    except RateLimited:
        return 0
    return cost


async def spend_all(house: House, identity: Identity, cost: int = 100) -> int:
    """Spend for as long as there is something, each time until the others were told; return what was spent."""
    spent = 0
    while took := taken(house.auth.budgets, identity, cost):
        spent += took
        await house.auth.budgets.exchange()
    return spent


async def rows(house: House) -> list[tuple[bytes, int]]:
    found = await house.auth.database.all(Statement(select(throttles.c.key, throttles.c.full_at)))
    return [(row[0], row[1]) for row in found]


@asynccontextmanager
async def nobody_writes(house: House) -> AsyncIterator[None]:
    """Hold what the exchange has to wait for."""
    location = house.settings.database
    if not isinstance(location, PostgreSQL):
        with locked(house):
            yield
        return
    other = await asyncpg.connect(location.uri)
    try:
        await other.execute("BEGIN; LOCK TABLE throttles IN EXCLUSIVE MODE")
        yield
    finally:
        await other.close()


@pytest.mark.parametrize("identity", [ADA, ROBOT, nobody("192.0.2.1"), nobody(None)])
async def test_who_has_used_their_budget_up_in_one_process_has_no_more_than_a_share_of_it_in_another(
    open_house: OpenHouse, identity: Identity
) -> None:
    houses = one, two = await processes(open_house)
    assert await spend_all(one, identity) == LIMIT
    assert A_SHARE < await spend_all(two, identity) <= A_SHARE + 100
    for house in houses:
        with pytest.raises(RateLimited):
            left(house.auth.budgets, identity, 1)
        assert left(house.auth.budgets, identity, 0) == 0  # to ask what is left costs nothing
    # What was spent too much is waited for, and what comes back is everybody's together.
    move(houses, timedelta(seconds=30))
    assert abs(await spend_all(two, identity, 10) + await spend_all(one, identity, 10) - LIMIT / 2) <= 2 * A_SHARE + 100
    move(houses, timedelta(minutes=2))
    assert [left(house.auth.budgets, identity, 0) for house in houses] == [LIMIT, LIMIT]


async def test_others_pay_nothing_for_it(open_house: OpenHouse) -> None:
    one, two = await processes(open_house)
    await spend_all(one, nobody("192.0.2.1"))
    for identity in (nobody("192.0.2.2"), nobody(None), ADA, Identity(IdentityKind.USER, "192.0.2.1")):
        left(two.auth.budgets, identity, A_SHARE + 1)
        await two.auth.budgets.exchange()
        assert left(two.auth.budgets, identity, 0) == LIMIT - A_SHARE - 1


@pytest.mark.parametrize("seed", range(2))
async def test_so_many_processes_let_through_together_what_one_would_and_a_share_for_each_besides(
    open_house: OpenHouse, seed: int
) -> None:
    houses = await processes(open_house, 3)
    chance, costliest = random.Random(seed), 300  # noqa: S311 - nobody is kept from guessing it
    one = Budgets(Policy("x", budget=LIMIT), houses[0].clock)
    spent_by_all = spent_by_one = passed = 0
    for _ in range(250):
        pause, cost = chance.choice([0, 0, 1, 3]), chance.randint(1, costliest)
        move(houses, timedelta(seconds=pause))
        passed += pause
        budgets = chance.choice(houses).auth.budgets
        spent_by_all += taken(budgets, ADA, cost)
        spent_by_one += taken(one, ADA, cost)
        await budgets.exchange()
        besides = 3 * (A_SHARE + costliest)
        assert spent_by_all <= LIMIT * (1 + passed / 60) + besides
        assert abs(spent_by_all - spent_by_one) <= besides
    assert taken(one, ADA, LIMIT) == 0  # there was more to be done than they let through


async def test_it_is_told_by_itself_and_who_asks_is_refused_by_the_other_process(open_house: OpenHouse) -> None:
    one, two = await processes(open_house)
    clients = [house.client("192.0.2.1") for house in (one, two)]
    answered = []
    for number in range(200):
        # Documents that nobody sent before, which cost more than a hundred points each.
        answer = await clients[number % 2].ask(f"{{ __typename nothing{number}: __typename }}")
        answered.append(answer.response.status_code)
        if answered[-2:] == [429, 429]:
            break
    assert answer.code == "RATE_LIMITED"
    assert answer.response.headers["ratelimit-policy"] == f'"default";q={LIMIT};w=60'
    assert answered.count(200) < 1.5 * LIMIT / 100  # each on its own would have let that many through
    move((one, two), 2 * MINUTE)
    assert [(await client.ask("{ __typename }")).response.status_code for client in clients] == [200, 200]


async def test_a_process_that_starts_learns_after_a_share_what_was_spent_before(open_house: OpenHouse) -> None:
    (one,) = await processes(open_house, 1)
    await spend_all(one, ADA)
    (new,) = await processes(open_house, 1)
    assert await spend_all(new, ADA) <= A_SHARE + 100


async def test_who_spends_little_writes_nothing(open_house: OpenHouse) -> None:
    one, two = await processes(open_house)
    for house in (one, two):
        left(house.auth.budgets, ADA, A_SHARE)
        await house.auth.budgets.exchange()
    assert await rows(one) == []


async def test_a_row_tells_nothing_of_whose_it_is_and_goes_when_the_budget_is_full(open_house: OpenHouse) -> None:
    houses = await processes(open_house)
    one, _ = houses
    for number in range(40):
        left(one.auth.budgets, nobody(f"192.0.2.{number}"), 200)
    await one.auth.budgets.exchange()
    kept = await rows(one)
    assert len(kept) == 40
    assert all(len(key) == 32 and b"192" not in key for key, _ in kept)
    move(houses, MINUTE)
    for number in range(40):
        left(one.auth.budgets, nobody(f"203.0.113.{number}"), 200)
    await one.auth.budgets.exchange()
    assert not {key for key, _ in kept} & {key for key, _ in await rows(one)}


async def test_many_who_spend_at_once_are_all_told_of(open_house: OpenHouse) -> None:
    one, two = await processes(open_house)
    many = [nobody(f"10.0.{number}.1") for number in range(250)]
    for identity in many:
        left(one.auth.budgets, identity, 1_000)
    await one.auth.budgets.exchange()
    for identity in many:
        left(two.auth.budgets, identity, 1_000)
    await two.auth.budgets.exchange()
    assert {left(two.auth.budgets, identity, 0) for identity in many} == {LIMIT - 2_000}


async def test_who_was_forgotten_before_the_others_were_told_is_not_told_of(open_house: OpenHouse) -> None:
    one, _ = await processes(open_house)
    left(one.auth.budgets, nobody("first"), 1_000)
    for number in range(MOST_REMEMBERED):
        left(one.auth.budgets, nobody(f"stranger {number}"), 1)
    await one.auth.budgets.exchange()
    assert await rows(one) == []


def of_budgets(logged: Sequence[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    """Return those lines that are not the database's own."""
    return [line for line in logged if line["event"] == "budgets_not_exchanged"]


async def test_while_nobody_can_write_each_process_goes_on_and_tells_afterwards(open_house: OpenHouse) -> None:
    one, two = await processes(open_house)
    await spend_all(one, ADA, LIMIT // 2)
    with capture_logs() as logged:
        async with nobody_writes(one):
            left(two.auth.budgets, ADA, LIMIT // 2)
            with pytest.raises(StoreUnavailable):
                await two.auth.budgets.exchange()
            assert left(two.auth.budgets, ADA, 100) == LIMIT // 2 - 100  # as if it were alone
            await until(lambda: bool(of_budgets(logged)))
        await two.auth.budgets.exchange()
    (line,) = of_budgets(logged)
    assert line["log_level"] == "warning"
    with pytest.raises(RateLimited):
        left(two.auth.budgets, ADA, 1)


async def test_what_was_spent_while_nobody_could_write_keeps_no_process_waiting_for_long(open_house: OpenHouse) -> None:
    houses = await processes(open_house, 3)
    async with nobody_writes(houses[0]):
        for _ in range(10):
            for house in houses:
                left(house.auth.budgets, ADA, LIMIT)
            move(houses, MINUTE)
    for house in houses:
        await house.auth.budgets.exchange()
    move(houses, MINUTE + timedelta(seconds=2))
    assert await spend_all(houses[0], ADA) >= 100


async def test_a_clock_that_is_set_back_keeps_nobody_waiting_in_any_process(open_house: OpenHouse) -> None:
    houses = await processes(open_house)
    one, two = houses
    await spend_all(one, ADA)
    move(houses, -timedelta(days=1))
    assert left(two.auth.budgets, ADA, 1_000) == LIMIT - 1_000
    await two.auth.budgets.exchange()
    assert left(two.auth.budgets, ADA, 0) == LIMIT - 1_000


def is_exchanging() -> bool:
    return "watchword-budgets" in {task.get_name() for task in asyncio.all_tasks()}


async def test_it_ends_with_the_house(open_house: OpenHouse) -> None:
    (one,) = await processes(open_house, 1)
    left(one.auth.budgets, ADA, 1_000)
    assert is_exchanging()
    await one.auth.close()
    left(one.auth.budgets, ADA, 1_000)  # by a request that is under way still
    assert not is_exchanging()


async def test_while_nobody_spends_there_is_no_task(open_house: OpenHouse) -> None:
    (one,) = await processes(open_house, 1)
    left(one.auth.budgets, ADA, A_SHARE)
    assert not is_exchanging()
    left(one.auth.budgets, ADA, 1)
    assert is_exchanging()
    await until(lambda: not is_exchanging())
    assert len(await rows(one)) == 1
