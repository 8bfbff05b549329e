"""Refusals: one shape, a closed list of codes, and nothing of what a client wrote."""

import logging
import time

import pytest
import strawberry

from schema import Domain, Info, Public
from schema.errors import Code
from tests.house import LOG_IN, SIGN_UP, Client, House, OpenHouse

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ viewer { id }", Code.GRAPHQL_PARSE_FAILED),
        ("{ viewer { id } } }", Code.GRAPHQL_PARSE_FAILED),
        ("{ nothing }", Code.GRAPHQL_VALIDATION_FAILED),
        ("{ viewer { nothing } }", Code.GRAPHQL_VALIDATION_FAILED),
        ('mutation { login(input: { email: "x" }) { __typename } }', Code.GRAPHQL_VALIDATION_FAILED),
        ("query A { viewer { id } } query B { viewer { id } }", Code.GRAPHQL_VALIDATION_FAILED),
        ("query { ...A } fragment A on Query { ...B } fragment B on Query { ...A }", Code.GRAPHQL_VALIDATION_FAILED),
        ("{ viewer { " + "id " * 5000 + "} }", Code.OPERATION_TOO_LARGE),
        ("{ viewer { id } } " + "# a comment\n" * 5000, Code.OPERATION_TOO_LARGE),
        ("subscription { anything }", Code.GRAPHQL_VALIDATION_FAILED),
        ("fragment A on Query { viewer { id } }", Code.GRAPHQL_VALIDATION_FAILED),
        ("", Code.BAD_REQUEST),
    ],
)
async def test_a_document_that_does_not_do_is_refused_with_a_code(nobody: Client, query: str, code: Code) -> None:
    answer = await nobody.ask(query)
    assert answer.code == code.name
    assert answer.refusal["requestId"] == answer.response.headers["x-request-id"]
    assert not answer.body.get("data")


@pytest.mark.parametrize(
    "call",
    [
        "mutation { a: login(input: $i) { __typename } b: login(input: $i) { __typename } }",
        "mutation { login(input: $i) { __typename } signUp(input: $s) { __typename } }",
        """mutation { ...A ...B } fragment A on Mutation { a: login(input: $i) { __typename } }
        fragment B on Mutation { b: login(input: $i) { __typename } }""",
        """mutation { ...A ... on Mutation { b: login(input: $i) { __typename } } }
        fragment A on Mutation { ...C } fragment C on Mutation { a: login(input: $i) { __typename } }""",
    ],
)
async def test_a_document_that_calls_more_than_one_credential_mutation_is_refused(house: House, call: str) -> None:
    ada = await house.person("ada")
    query = call.replace("mutation {", "mutation($i: LoginInput!, $s: SignUpInput!) {")
    query = query if "$s" in call else query.replace(", $s: SignUpInput!", "")
    credentials = {"email": ada.email, "password": "not it, not it"}
    answer = await ada.ask(query, {"i": credentials, "s": {**credentials, "displayName": "X"}})
    assert answer.code == "OPERATION_TOO_LARGE"


async def test_fragments_that_spread_each_other_twice_are_followed_once(nobody: Client) -> None:
    # Followed each time they are spread, these would be a thousand million steps, in one kilobyte.
    doubling = " ".join(f"fragment f{n} on Mutation {{ ...f{n + 1} ...f{n + 1} }}" for n in range(30))
    query = f"mutation {{ ...f0 }} {doubling} fragment f30 on Mutation {{ logout {{ sessionEnded }} }}"
    begun = time.process_time()
    await nobody.ask(query)
    assert time.process_time() - begun < 2


async def test_one_credential_mutation_a_document_runs(house: House) -> None:
    ada = await house.person("ada")
    query = LOG_IN.replace("}\n}\n", "}\n  logout { sessionEnded }\n}\n")
    answer = await house.client().ask(query, {"input": {"email": ada.email, "password": "not it, not it"}})
    assert answer.data["login"]["__typename"] == "LoginFailed"


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (LOG_IN, {"input": {"email": "a@example.org", "password": [SECRET]}}),
        (LOG_IN, {"input": {"email": "a@example.org", "passwort": SECRET}}),
        (LOG_IN, {"input": {"email": "a@example.org", "password": {"is": SECRET}}}),
        (SIGN_UP, {"input": SECRET}),
        (LOG_IN, {"input": {"email": "a@example.org", "password": "x", "delivery": SECRET}}),
        (f'mutation {{ login(input: {{ email: "a", password: ["{SECRET}"] }}) {{ __typename }} }}', {}),
        (f'mutation {{ login(input: {{ email: "a", password: "x" }}) "{SECRET}" }}', {}),
        (f'mutation {{ login(input: {{ email: "a" password "{SECRET}" }}) {{ __typename }} }}', {}),
        (f'mutation {{ login(input: {{ email: "a", password: """{SECRET}""" """ }}) {{ __typename }} }}', {}),
        ("query($i: ID!) { node(id: $i) { id } }", {"i": SECRET}),
    ],
)
async def test_an_error_never_repeats_what_the_client_wrote(
    nobody: Client, caplog: pytest.LogCaptureFixture, query: str, variables: dict[str, object]
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = await nobody.ask(query, variables)
    assert answer.body["errors"]
    assert SECRET not in answer.response.text
    assert SECRET not in caplog.text


async def test_what_nobody_foresaw_is_masked_and_the_log_has_the_rest(
    open_house: OpenHouse, capsys: pytest.CaptureFixture[str]
) -> None:
    @strawberry.type
    class Query:
        @strawberry.field(permission_classes=[Public], description="Fails.")
        async def failing(self, info: Info) -> str | None:
            assert info
            raise ZeroDivisionError("the text of the defect")

    house = await open_house(domains=[Domain(name="failing", query=Query)])
    answer = await house.client().ask("{ failing }")
    assert answer.code == "INTERNAL"
    assert "defect" not in answer.response.text
    logged = capsys.readouterr()
    assert "the text of the defect" in logged.out + logged.err
    assert answer.refusal["requestId"] in logged.out + logged.err


async def test_a_database_that_is_closed_is_unavailable_and_logs_nobody_out(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    await house.auth.database.close()
    answer = await ada.ask("{ viewer { id } }")
    assert answer.code == "UNAVAILABLE"
    assert not answer.response.headers.get_list("set-cookie")
    logout = await ada.ask("mutation { logout { sessionEnded } }")
    assert logout.code == "UNAVAILABLE"
    assert not logout.response.headers.get_list("set-cookie")
    login = await house.client().log_in(ada.email)
    assert login.code == "UNAVAILABLE"
    assert (await ada.client.get("/readyz")).status_code == 503
    assert (await ada.client.get("/healthz")).status_code == 200
