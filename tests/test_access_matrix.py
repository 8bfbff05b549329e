"""Every root field × nobody, a user, an administrator, and tokens with every scope: who gets past its door."""

from typing import Any

import pytest
from graphql import GraphQLObjectType

from auth.scopes import CORE_SCOPES
from schema import build_schema
from tests.documents import CREATE, CREATE_API_TOKEN, CREATE_SECRET, NO_CREDENTIAL
from tests.house import Client, House, Person
from tests.streams import following

PASSES = "passes"
UNAUTHENTICATED = "UNAUTHENTICATED"
FORBIDDEN = "FORBIDDEN"

CALLERS = ("nobody", "user", "administrator", "api-token", "service-account")
EVERYBODY = (PASSES, PASSES, PASSES, PASSES, PASSES)
THE_AUTHENTICATED = (UNAUTHENTICATED, PASSES, PASSES, PASSES, PASSES)
PEOPLE = (UNAUTHENTICATED, PASSES, PASSES, FORBIDDEN, FORBIDDEN)
HOLDERS_OF_A_SCOPE = (UNAUTHENTICATED, FORBIDDEN, PASSES, PASSES, PASSES)
ADMINISTRATORS = (UNAUTHENTICATED, FORBIDDEN, PASSES, FORBIDDEN, FORBIDDEN)

SOMEBODY = "VXNlcjowMDAwMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDA="
SERVICE = "U2VydmljZUFjY291bnQ6eA=="
ACCOUNT = 'email: "x", password: "x", displayName: "x"'

# Root field: what calls it, and the answers to the callers; the two that are no person hold every scope. Past the door
# the call may still fail, for what it names does not exist: the matrix is about doors.
MATRIX: dict[str, tuple[str, tuple[str, ...]]] = {
    "Query.viewer": ("{ viewer { id } }", THE_AUTHENTICATED),
    "Query.node": (f'{{ node(id: "{SOMEBODY}") {{ id }} }}', THE_AUTHENTICATED),
    "Query.users": ("{ users { nodes { id } } }", HOLDERS_OF_A_SCOPE),
    "Mutation.signUp": (f"mutation {{ signUp(input: {{ {ACCOUNT} }}) {{ __typename }} }}", EVERYBODY),
    "Mutation.login": ('mutation { login(input: { email: "x", password: "x" }) { __typename } }', EVERYBODY),
    "Mutation.logout": ("mutation { logout { sessionEnded } }", EVERYBODY),
    "Query.serviceAccounts": ("{ serviceAccounts { nodes { id } } }", HOLDERS_OF_A_SCOPE),
    "Query.rateLimit": ("{ rateLimit { remaining } }", EVERYBODY),
    "Query.auditEvents": ("{ auditEvents { nodes { id } } }", HOLDERS_OF_A_SCOPE),
    "Subscription.viewerEvents": ("subscription { viewerEvents { id } }", THE_AUTHENTICATED),
    "Subscription.auditEvents": ("subscription { auditEvents { id } }", HOLDERS_OF_A_SCOPE),
    "Mutation.refresh": ('mutation { refresh(input: { refreshToken: "x" }) { __typename } }', EVERYBODY),
    "Mutation.createApiToken": (
        'mutation { createApiToken(input: { name: "x", scopes: [] }) { __typename } }',
        PEOPLE,
    ),
    "Mutation.revokeApiToken": (
        'mutation { revokeApiToken(input: { id: "QXBpVG9rZW46eA==" }) { apiToken { id } } }',
        PEOPLE,
    ),
    "Mutation.createServiceAccount": (
        'mutation { createServiceAccount(input: { name: "x", scopes: [] }) { __typename } }',
        PEOPLE,
    ),
    "Mutation.createServiceAccountSecret": (
        f'mutation {{ createServiceAccountSecret(input: {{ id: "{SERVICE}" }}) {{ __typename }} }}',
        PEOPLE,
    ),
    "Mutation.createServiceAccountKey": (
        f'mutation {{ createServiceAccountKey(input: {{ id: "{SERVICE}", publicKey: "x" }}) {{ __typename }} }}',
        PEOPLE,
    ),
    "Mutation.revokeServiceAccountCredential": (
        f'mutation {{ revokeServiceAccountCredential(input: {{ id: "{NO_CREDENTIAL}" }}) {{ __typename }} }}',
        PEOPLE,
    ),
    "Mutation.disableServiceAccount": (
        f'mutation {{ disableServiceAccount(input: {{ id: "{SERVICE}" }}) {{ serviceAccount {{ id }} }} }}',
        PEOPLE,
    ),
    "Mutation.revokeSession": (
        'mutation { revokeSession(input: { id: "U2Vzc2lvbjox" }) { session { id } } }',
        PEOPLE,
    ),
    "Mutation.revokeOtherSessions": ("mutation { revokeOtherSessions { endedSessions } }", PEOPLE),
    "Mutation.changePassword": (
        'mutation { changePassword(input: { currentPassword: "x", newPassword: "x" }) { __typename } }',
        PEOPLE,
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


@pytest.fixture(scope="module")
async def tokens(house: House) -> dict[str, str]:
    """Make the two tokens, of an administrator and of the installation, each with every scope there is."""
    grace = await house.person("grace", administrator=True)
    every = {"name": "everything", "scopes": sorted(CORE_SCOPES)}
    api_token = (await grace.ask(CREATE_API_TOKEN, {"input": every})).data["createApiToken"]["token"]
    of_installation = {"input": {**every, "ofInstallation": True}}
    account = (await grace.ask(CREATE, of_installation)).data["createServiceAccount"]["serviceAccount"]
    secret = (await grace.ask(CREATE_SECRET, {"input": {"id": account["id"]}})).data["createServiceAccountSecret"]
    form = {
        "grant_type": "client_credentials",
        "client_id": account["clientId"],
        "client_secret": secret["secret"],
    }
    answer = await house.client().post("/oauth/token", data=form)
    return {"api-token": api_token, "service-account": answer.json()["access_token"]}


@pytest.mark.parametrize("field", MATRIX)
@pytest.mark.parametrize("caller", CALLERS)
async def test_the_door_of(field: str, caller: str, house: House, tokens: dict[str, str]) -> None:
    query, answers = MATRIX[field]
    asks: Client | Person = house.client()
    if caller in tokens:
        asks = house.client(authorization=f"Bearer {tokens[caller]}")
    elif caller != "nobody":
        asks = await house.person("somebody", administrator=caller == "administrator")
    codes = {error["extensions"]["code"] for error in await _errors(house, asks, query)}
    refused = codes & {UNAUTHENTICATED, FORBIDDEN}
    assert (refused or {PASSES}) == {answers[CALLERS.index(caller)]}
    assert "INTERNAL" not in codes


async def _errors(house: House, asks: Client | Person, query: str) -> list[dict[str, Any]]:
    if not query.startswith("subscription"):
        refused: list[dict[str, Any]] = (await asks.ask(query)).body.get("errors", [])
        return refused
    async with following(house, asks if isinstance(asks, Client) else asks.client, query) as stream:
        # Past the door nothing comes until something happens.
        answer = await stream.answer() if stream.has_answered else {"errors": []}
    return list(answer["errors"])
