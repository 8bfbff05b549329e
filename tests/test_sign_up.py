"""Signing up."""

import statistics
import time

import pytest

from tests.elsewhere import rows
from tests.house import PASSWORD, SIGN_UP, WHO_AM_I, Answer, House, OpenHouse, Person

ON_BOTH_ENGINES = True


async def sign_up(house: House, **details: object) -> Answer:
    usual = {"email": house.address("new"), "password": PASSWORD, "displayName": "Somebody"}
    return await house.client().ask(SIGN_UP, {"input": {**usual, **details}})


async def test_signing_up_makes_an_account_and_does_not_log_in(house: House) -> None:
    client, email = house.client(), house.address("new")
    answer = await client.ask(SIGN_UP, {"input": {"email": email, "password": PASSWORD, "displayName": "New"}})
    assert answer.data["signUp"]["__typename"] == "SignUpSucceeded"
    assert not dict(client.cookies)
    assert (await client.ask(WHO_AM_I)).reason == "NOT_AUTHENTICATED"
    assert (await client.log_in(email)).data["login"]["viewer"]["user"]["roles"] == ["USER"]


async def test_a_taken_address_gets_the_same_answer_and_nothing_changes(house: House, ada: Person) -> None:
    other = "another lighthouse entirely"
    free = await sign_up(house, password=other)
    taken = await sign_up(house, email=ada.email.upper(), password=other, displayName="Mallory")
    assert taken.body == free.body
    assert taken.response.headers.keys() == free.response.headers.keys()
    assert (await house.client().log_in(ada.email, other)).data["login"]["code"] == "INVALID_CREDENTIALS"
    assert (await house.client().log_in(ada.email)).data["login"]["viewer"]["user"]["displayName"] == "Ada"


async def test_a_taken_address_costs_as_much_as_a_free_one(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    costs: dict[str, list[float]] = {"free": [], "taken": []}
    for _ in range(20):
        for kind, measured in costs.items():
            begun = time.perf_counter()
            await sign_up(house, **({"email": ada.email} if kind == "taken" else {}))
            measured.append(time.perf_counter() - begun)
    # The hashes are cheap here, so that what remains is the write to the disk, which a taken address would save.
    assert 0.6 < statistics.median(costs["taken"]) / statistics.median(costs["free"]) < 1.7


async def test_of_a_taken_address_no_trace_stays_in_the_database(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    await sign_up(house, email=ada.email)
    assert rows(house, "SELECT count(*) FROM users") == [(1,)]
    assert rows(house, "SELECT count(*) FROM user_roles") == [(1,)]


@pytest.mark.parametrize(
    ("details", "code", "field"),
    [
        ({"email": "not an address"}, "EMAIL_INVALID", "email"),
        ({"email": "a@b@c"}, "EMAIL_INVALID", "email"),
        ({"email": "x" * 300 + "@example.org"}, "EMAIL_INVALID", "email"),
        ({"displayName": "   "}, "DISPLAY_NAME_INVALID", "displayName"),
        ({"displayName": "x" * 81}, "DISPLAY_NAME_INVALID", "displayName"),
        ({"displayName": "Ada\u202eecalevoL"}, "DISPLAY_NAME_INVALID", "displayName"),
        ({"displayName": "two\nlines"}, "DISPLAY_NAME_INVALID", "displayName"),
        ({"password": "a lighthous"}, "PASSWORD_TOO_SHORT", "password"),
        ({"password": "a lighthouse " * 10}, "PASSWORD_TOO_LONG", "password"),
        ({"password": "password1234"}, "PASSWORD_TOO_GUESSABLE", "password"),
        ({"password": "qwertyuiop12"}, "PASSWORD_TOO_GUESSABLE", "password"),
        ({"email": "hypatia@example.org", "password": "hypatia@example.org"}, "PASSWORD_TOO_GUESSABLE", "password"),
    ],
)
async def test_a_fault_names_its_field(house: House, details: dict[str, object], code: str, field: str) -> None:
    failed = (await sign_up(house, **details)).data["signUp"]
    assert (failed["__typename"], failed["code"], failed["field"]) == ("SignUpFailed", code, field)
    assert failed["message"]


async def test_a_guessable_password_comes_with_advice(house: House) -> None:
    assert (await sign_up(house, password="password1234")).data["signUp"]["suggestions"]


async def test_signing_up_in_a_form_that_carries_a_role_is_refused(house: House) -> None:
    answer = await sign_up(house, roles=["ADMIN"])
    assert answer.code == "BAD_USER_INPUT"
