"""Introspection: who may ask for the schema, and that errors tell of it to nobody who may not."""

from typing import Any

import pytest
from graphql import build_client_schema, get_introspection_query, print_schema

from tests.house import PRODUCTION_HASHING, Answer, House, OpenHouse

ASKING = [
    "{ __schema { queryType { name } } }",
    '{ __type(name: "Query") { name } }',
    "{ viewer { id } ...A } fragment A on Query { ...B } fragment B on Query { __schema { description } }",
    '{ ... on Query { ... { __type(name: "User") { name } } } }',
    get_introspection_query(),
]
PRODUCTION: dict[str, Any] = {
    "public_url": "https://id.example.org",
    "secret_key": ["k" * 40],
    **PRODUCTION_HASHING,
}


async def test_in_development_everybody_may(house: House) -> None:
    shown = (await house.client().ask(get_introspection_query())).data
    assert "type Viewer" in print_schema(build_client_schema(shown))  # type: ignore[arg-type]


@pytest.mark.parametrize("query", ASKING)
async def test_in_production_whoever_is_known_may(open_house: OpenHouse, query: str) -> None:
    house = await open_house(**PRODUCTION)
    refused = await house.client().ask(query)
    assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "NOT_AUTHENTICATED")
    assert "data" not in refused.body
    known = await house.client().ask(query, authorization=f"Bearer {await _token(house)}")
    assert known.data


@pytest.mark.parametrize("query", ASKING)
async def test_where_it_is_off_nobody_may(open_house: OpenHouse, query: str) -> None:
    house = await open_house(introspection="nobody")
    grace = await house.person("grace", administrator=True)
    for asking in (house.client(), grace.client):
        refused = await asking.ask(query)
        assert (refused.code, refused.reason) == ("FORBIDDEN", "INTROSPECTION_OFF")
        assert "data" not in refused.body


async def test_a_bad_credential_is_told_what_is_wrong_with_it(open_house: OpenHouse) -> None:
    house = await open_house(introspection="authenticated")
    refused = await house.client().ask(ASKING[0], authorization="Bearer nonsense")
    assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")
    everybody = await open_house("other", introspection="everybody")
    assert (await everybody.client().ask(ASKING[0], authorization="Bearer nonsense")).data


async def test_a_database_that_does_not_answer_makes_nobody_a_stranger(open_house: OpenHouse) -> None:
    house = await open_house(introspection="authenticated")
    ada = await house.person("ada")
    await house.auth.database.close()
    assert (await ada.ask(ASKING[0])).code == "UNAVAILABLE"


@pytest.mark.parametrize("setting", ["everybody", "authenticated", "nobody"])
async def test_the_name_of_a_type_is_everybodys(open_house: OpenHouse, setting: str) -> None:
    house = await open_house(introspection=setting)
    assert (await house.client().ask("{ __typename }")).data == {"__typename": "Query"}


async def test_a_document_with_introspection_beside_another_operation_runs_the_other(open_house: OpenHouse) -> None:
    house = await open_house(introspection="nobody")
    both = "query A { __typename } query B { __schema { description } }"
    for name, code in (("A", None), ("B", "FORBIDDEN")):
        body = {"query": both, "operationName": name}
        answer = Answer(await house.client().post("/graphql", json=body))
        assert answer.body.get("errors", [{"extensions": {"code": None}}])[0]["extensions"]["code"] == code


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("{ vewer { id } }", {}),
    ("{ viewer { idd } }", {}),
    ("query ($u: LogInput!) { __typename }", {}),
    ("{ users(frst: 1) { __typename } }", {}),
    ("{ node(id: 1) { ... on Usr { id } } }", {}),
    ('mutation { login(input: {emai: "x"}) { __typename } }', {}),
    ('mutation { login(input: {email: "x", password: "x", delivery: BODI}) { __typename } }', {}),
    ("mutation ($i: LoginInput!) { login(input: $i) { __typename } }", {"i": {"emai": "x", "password": "x"}}),
    (
        "mutation ($i: LoginInput!) { login(input: $i) { __typename } }",
        {"i": {"email": "x", "password": "x", "delivery": "BODI"}},
    ),
]


@pytest.mark.parametrize(("query", "variables"), WRONG)
@pytest.mark.parametrize("setting", ["authenticated", "nobody"])
async def test_an_error_suggests_no_name_where_not_everybody_may_look(
    open_house: OpenHouse, query: str, variables: dict[str, Any], setting: str
) -> None:
    house = await open_house(introspection=setting)
    answer = await house.client().ask(query, variables)
    assert answer.body["errors"]
    assert "mean" not in answer.response.text


@pytest.mark.parametrize(("query", "variables"), WRONG)
async def test_an_error_suggests_a_name_where_everybody_may(
    house: House, query: str, variables: dict[str, Any]
) -> None:
    assert "Did you mean" in (await house.client().ask(query, variables)).response.text


async def _token(house: House) -> str:
    email, password = house.address("ada"), "a lighthouse keeps no secrets"
    await house.auth.users.create(email=email, password=password, display_name="Ada", roles=frozenset({"user"}))
    answer = await house.client().ask(
        "mutation ($i: LoginInput!) { login(input: $i) { ... on LoginSucceeded { accessToken } } }",
        {"i": {"email": email, "password": password, "delivery": "BODY"}},
    )
    token: str = answer.data["login"]["accessToken"]
    return token
