"""The first administrator."""

from datetime import timedelta
from typing import Any

from auth.secret import Secret
from tests.elsewhere import stored
from tests.house import PASSWORD, House, OpenHouse

ON_BOTH_ENGINES = True

CREATE = """
mutation($input: CreateFirstAdministratorInput!) {
  createFirstAdministrator(input: $input) {
    __typename
    ... on CreateFirstAdministratorSucceeded { user { email roles } }
    ... on CreateFirstAdministratorFailed { code field }
  }
}
"""


async def token_of(house: House) -> str:
    token = await house.auth.setup.issue()
    assert token is not None
    return token.reveal()


async def create(house: House, token: str, **details: str) -> dict[str, Any]:
    usual = {"setupToken": token, "email": "grace@example.org", "password": PASSWORD, "displayName": "Grace"}
    answer = await house.client().ask(CREATE, {"input": {**usual, **details}})
    result: dict[str, Any] = answer.data["createFirstAdministrator"]
    return result


async def test_the_setup_token_makes_an_administrator_once(open_house: OpenHouse) -> None:
    house = await open_house()
    token = await token_of(house)
    made = await create(house, token)
    assert made["user"] == {"email": "grace@example.org", "roles": ["USER", "ADMIN"]}
    again = await create(house, token, email="eve@example.org")
    assert (again["code"], again["field"]) == ("SETUP_TOKEN_INVALID", "setupToken")
    assert await house.auth.setup.issue() is None


async def test_nobody_becomes_an_administrator_by_being_first_to_sign_up(open_house: OpenHouse) -> None:
    house = await open_house()
    first = await house.person("ada")
    assert (await first.ask("{ viewer { user { roles } } }")).data["viewer"]["user"]["roles"] == ["USER"]
    assert await house.auth.setup.issue() is not None


async def test_a_guessed_token_makes_nobody(open_house: OpenHouse) -> None:
    house = await open_house()
    await token_of(house)
    for guess in ("", "x", "A" * 43):
        assert (await create(house, guess))["code"] == "SETUP_TOKEN_INVALID"


async def test_the_token_is_good_for_an_hour(open_house: OpenHouse) -> None:
    house = await open_house()
    token = await token_of(house)
    house.clock.move(timedelta(hours=1))
    assert (await create(house, token))["code"] == "SETUP_TOKEN_INVALID"


async def test_a_new_token_replaces_the_one_before(open_house: OpenHouse) -> None:
    house = await open_house()
    old, new = await token_of(house), await token_of(house)
    assert (await create(house, old))["code"] == "SETUP_TOKEN_INVALID"
    assert (await create(house, new))["__typename"] == "CreateFirstAdministratorSucceeded"


async def test_a_fault_does_not_use_the_token_up(open_house: OpenHouse) -> None:
    house = await open_house()
    ada, token = await house.person("ada"), await token_of(house)
    assert (await create(house, token, password="password1234"))["code"] == "PASSWORD_TOO_GUESSABLE"
    assert (await create(house, token, email=ada.email))["code"] == "EMAIL_TAKEN"
    assert (await create(house, token))["__typename"] == "CreateFirstAdministratorSucceeded"


async def test_the_token_is_kept_as_a_digest(open_house: OpenHouse) -> None:
    house = await open_house()
    token = await token_of(house)
    assert Secret(token).digest() in stored(house)  # we look in the right place
    assert token.encode() not in stored(house)
