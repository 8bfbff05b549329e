"""Budgets: how much work each identity may ask for in a minute, and that nobody pays for another."""

from datetime import timedelta
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.budgets import MOST_REMEMBERED, Budgets
from auth.gate import Credential
from auth.identity import Identity, IdentityKind
from auth.origin import Origin
from auth.policy import Policy
from auth.refusals import RateLimited
from auth.secret import Secret
from schema.context import CHARACTERS_A_POINT, NEW_DOCUMENT
from tests.documents import CREATE_API_TOKEN
from tests.house import Client, MovableClock, OpenHouse

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
