"""Every root field × nobody, a user, an administrator: who gets past its door."""

import pytest
from graphql import GraphQLObjectType

from schema import build_schema
from tests.house import Client, House, Person

PASSES = "passes"
UNAUTHENTICATED = "UNAUTHENTICATED"
FORBIDDEN = "FORBIDDEN"

EVERYBODY = (PASSES, PASSES, PASSES)
THE_LOGGED_IN = (UNAUTHENTICATED, PASSES, PASSES)
ADMINISTRATORS = (UNAUTHENTICATED, FORBIDDEN, PASSES)

SOMEBODY = "VXNlcjowMDAwMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDA="
ACCOUNT = 'email: "x", password: "x", displayName: "x"'

# Root field: what calls it, and the answers to nobody, a user and an administrator. Past the door the call may still
# fail, for what it names does not exist: the matrix is about doors.
MATRIX: dict[str, tuple[str, tuple[str, str, str]]] = {
    "Query.viewer": ("{ viewer { id } }", THE_LOGGED_IN),
    "Query.node": (f'{{ node(id: "{SOMEBODY}") {{ id }} }}', THE_LOGGED_IN),
    "Query.users": ("{ users { nodes { id } } }", ADMINISTRATORS),
    "Mutation.signUp": (f"mutation {{ signUp(input: {{ {ACCOUNT} }}) {{ __typename }} }}", EVERYBODY),
    "Mutation.login": ('mutation { login(input: { email: "x", password: "x" }) { __typename } }', EVERYBODY),
    "Mutation.logout": ("mutation { logout { sessionEnded } }", EVERYBODY),
    "Mutation.revokeSession": (
        'mutation { revokeSession(input: { id: "U2Vzc2lvbjox" }) { session { id } } }',
        THE_LOGGED_IN,
    ),
    "Mutation.revokeOtherSessions": ("mutation { revokeOtherSessions { endedSessions } }", THE_LOGGED_IN),
    "Mutation.changePassword": (
        'mutation { changePassword(input: { currentPassword: "x", newPassword: "x" }) { __typename } }',
        THE_LOGGED_IN,
    ),
    "Mutation.setUserRoles": (
        f'mutation {{ setUserRoles(input: {{ id: "{SOMEBODY}", roles: [] }}) {{ user {{ id }} }} }}',
        ADMINISTRATORS,
    ),
    "Mutation.disableUser": (
        f'mutation {{ disableUser(input: {{ id: "{SOMEBODY}" }}) {{ user {{ id }} }} }}',
        ADMINISTRATORS,
    ),
    "Mutation.enableUser": (
        f'mutation {{ enableUser(input: {{ id: "{SOMEBODY}" }}) {{ user {{ id }} }} }}',
        ADMINISTRATORS,
    ),
    "Mutation.createFirstAdministrator": (
        f'mutation {{ createFirstAdministrator(input: {{ setupToken: "x", {ACCOUNT} }}) {{ __typename }} }}',
        EVERYBODY,
    ),
}


def test_the_matrix_has_every_root_field() -> None:
    graphql = build_schema().schema._schema
    roots: list[GraphQLObjectType | None] = [graphql.query_type, graphql.mutation_type, graphql.subscription_type]
    assert set(MATRIX) == {f"{root.name}.{name}" for root in roots if root is not None for name in root.fields}


@pytest.mark.parametrize("field", MATRIX)
@pytest.mark.parametrize("column", [0, 1, 2], ids=["nobody", "user", "administrator"])
async def test_the_door_of(field: str, column: int, house: House) -> None:
    query, answers = MATRIX[field]
    caller: Client | Person = house.client()
    if column > 0:
        caller = await house.person("somebody", administrator=column == 2)
    answer = await caller.ask(query)
    codes = {error["extensions"]["code"] for error in answer.body.get("errors", [])}
    refused = codes & {UNAUTHENTICATED, FORBIDDEN}
    assert (refused or {PASSES}) == {answers[column]}
    assert "INTERNAL" not in codes
