"""API tokens: made by a person for their scripts, shown once, never worth more than their owner, and gone at once."""

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
import strawberry
from graphql import GraphQLSchema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auth.scopes import CORE_SCOPES, rights
from schema import Domain, build_schema, has_role
from tests.documents import NO_CREDENTIAL
from tests.elsewhere import rows, stored
from tests.house import LOG_OUT, PASSWORD, WHO_AM_I, Answer, Client, House, OpenHouse, Person

ON_BOTH_ENGINES = True

CREATE = """
mutation CreateApiToken($input: CreateApiTokenInput!) {
  createApiToken(input: $input) {
    __typename
    ... on CreateApiTokenSucceeded { token apiToken { id name scopes createdAt expiresAt lastUsedAt lastUsedAddress } }
    ... on CreateApiTokenFailed { code field message }
  }
}
"""
REVOKE = "mutation($input: RevokeApiTokenInput!) { revokeApiToken(input: $input) { apiToken { id name } } }"
LIST = """
query ApiTokens($first: Int! = 20, $after: String) {
  viewer {
    apiTokens(first: $first, after: $after) {
      nodes { id name scopes createdAt expiresAt lastUsedAt lastUsedAddress }
      pageInfo { hasNextPage endCursor }
    }
  }
}
"""
WHAT_I_MAY = "{ viewer { id scopes } }"
GRANTABLE = "{ viewer { grantableScopes { name description } scopes } }"
NODE = "query($id: ID!) { node(id: $id) { __typename id } }"
SET_ROLES = "mutation($input: SetUserRolesInput!) { setUserRoles(input: $input) { user { id roles } } }"
DISABLE = "mutation($input: DisableUserInput!) { disableUser(input: $input) { user { id } } }"
ENABLE = "mutation($input: EnableUserInput!) { enableUser(input: $input) { user { id } } }"
CHANGE_PASSWORD = "mutation($input: ChangePasswordInput!) { changePassword(input: $input) { __typename } }"

SOMEBODY = "VXNlcjowMDAwMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDA="

# Every field of the schema that wants a person, and a document that calls it.
FOR_HUMANS = {
    "Viewer.grantableScopes": "{ viewer { grantableScopes { name } } }",
    "Mutation.revokeSession": f'mutation {{ revokeSession(input: {{ id: "{SOMEBODY}" }}) {{ session {{ id }} }} }}',
    "Mutation.revokeOtherSessions": "mutation { revokeOtherSessions { endedSessions } }",
    "Mutation.changePassword": (
        'mutation { changePassword(input: { currentPassword: "x", newPassword: "x" }) { __typename } }'
    ),
    "Mutation.createApiToken": (
        'mutation { createApiToken(input: { name: "x", scopes: ["profile:read"] }) { __typename } }'
    ),
    "Mutation.revokeApiToken": f'mutation {{ revokeApiToken(input: {{ id: "{SOMEBODY}" }}) {{ __typename }} }}',
    "Mutation.createServiceAccount": (
        'mutation { createServiceAccount(input: { name: "x", scopes: ["profile:read"] }) { __typename } }'
    ),
    "Mutation.createServiceAccountSecret": (
        f'mutation {{ createServiceAccountSecret(input: {{ id: "{SOMEBODY}" }}) {{ __typename }} }}'
    ),
    "Mutation.createServiceAccountKey": (
        f'mutation {{ createServiceAccountKey(input: {{ id: "{SOMEBODY}" }}) {{ __typename }} }}'
    ),
    "Mutation.revokeServiceAccountCredential": (
        f'mutation {{ revokeServiceAccountCredential(input: {{ id: "{NO_CREDENTIAL}" }}) {{ __typename }} }}'
    ),
    "Mutation.disableServiceAccount": (
        f'mutation {{ disableServiceAccount(input: {{ id: "{SOMEBODY}" }}) {{ __typename }} }}'
    ),
    "Mutation.setUserRoles": (
        f'mutation {{ setUserRoles(input: {{ id: "{SOMEBODY}", roles: [] }}) {{ __typename }} }}'
    ),
    "Mutation.disableUser": f'mutation {{ disableUser(input: {{ id: "{SOMEBODY}" }}) {{ __typename }} }}',
    "Mutation.enableUser": f'mutation {{ enableUser(input: {{ id: "{SOMEBODY}" }}) {{ __typename }} }}',
}


@dataclass(frozen=True)
class Made:
    """A token that somebody was given."""

    id: str
    token: str


async def create(person: Person, scopes: Iterable[str] = ("profile:read",), **more: Any) -> Answer:
    return await person.ask(CREATE, {"input": {"name": "nightly report", "scopes": list(scopes), **more}})


async def make(person: Person, scopes: Iterable[str] = ("profile:read",), **more: Any) -> Made:
    made = (await create(person, scopes, **more)).data["createApiToken"]
    assert made["__typename"] == "CreateApiTokenSucceeded", made
    return Made(made["apiToken"]["id"], made["token"])


async def show(house: House, token: str, query: str = WHAT_I_MAY) -> Answer:
    """Call as a script does: with the token in the header, and nothing else."""
    return await house.client().ask(query, authorization=f"Bearer {token}")


async def listed(person: Person) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = (await person.ask(LIST)).data["viewer"]["apiTokens"]["nodes"]
    return nodes


async def set_roles(administrator: Person, person: Person, *roles: str) -> None:
    assert (await administrator.ask(SET_ROLES, {"input": {"id": person.user_id, "roles": list(roles)}})).data


def parts(token: str) -> list[dict[str, Any]]:
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def row_id(global_id: str) -> str:
    return base64.b64decode(global_id).decode().partition(":")[2]


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


# --- Making one ------------------------------------------------------------------------------------------------------


async def test_a_person_is_shown_the_scopes_that_they_can_give_each_with_its_sentence(ada: Person) -> None:
    viewer = (await ada.ask(GRANTABLE)).data["viewer"]
    assert [scope["name"] for scope in viewer["grantableScopes"]] == viewer["scopes"]
    assert {scope["name"]: scope["description"] for scope in viewer["grantableScopes"]} == {
        name: CORE_SCOPES[name] for name in viewer["scopes"]
    }
    assert "users:write" not in viewer["scopes"]


async def test_a_token_calls_in_its_owners_name_and_may_what_was_chosen(house: House, ada: Person) -> None:
    made = await make(ada, ["profile:read", "sessions:read"])
    viewer = (await show(house, made.token, WHO_AM_I)).data["viewer"]
    assert (viewer["id"], viewer["kind"], viewer["user"]["email"]) == (ada.id, "USER", ada.email)
    assert viewer["scopes"] == ["profile:read", "sessions:read"]
    assert viewer["session"] is None


async def test_what_was_not_chosen_is_refused_and_the_answer_names_it(house: House, ada: Person) -> None:
    made = await make(ada, ["profile:read"])
    refusal = (await show(house, made.token, "{ viewer { sessions { nodes { id } } } }")).refusal
    assert (refusal["code"], refusal["reason"]) == ("FORBIDDEN", "INSUFFICIENT_SCOPE")
    assert (refusal["required"], refusal["granted"]) == (["sessions:read"], ["profile:read"])


async def test_it_is_a_jwt_of_a_type_of_its_own_without_a_session_and_with_nothing_personal(
    house: House,
) -> None:
    mary = await house.person("marguerite")
    made = await make(mary, ["profile:read", "sessions:read"])
    header, claims = parts(made.token)
    assert set(header) == {"alg", "typ", "kid"}
    assert (header["alg"], header["typ"]) == ("EdDSA", "api+jwt")
    assert set(claims) == {"iss", "sub", "aud", "exp", "iat", "jti", "scope"}
    issuer = house.settings.public_url
    assert (claims["iss"], claims["aud"]) == (issuer, f"{issuer}/graphql")  # for this API, and for no other service
    assert (claims["sub"], claims["jti"]) == (row_id(mary.id), row_id(made.id))
    assert claims["scope"] == "profile:read sessions:read"
    said = json.dumps([header, claims]).lower()
    assert not any(personal in said for personal in ("marguerite", "example.org", "nightly"))


async def test_without_an_expiry_it_holds_for_ninety_days(house: House, ada: Person) -> None:
    made = (await create(ada)).data["createApiToken"]
    claims = parts(made["token"])[1]
    assert claims["exp"] - claims["iat"] == timedelta(days=90).total_seconds()
    assert instant(made["apiToken"]["expiresAt"]).timestamp() == pytest.approx(claims["exp"], abs=1)
    assert instant(made["apiToken"]["createdAt"]) <= house.clock.now()


@pytest.mark.parametrize("life", [timedelta(seconds=30), timedelta(days=1), timedelta(days=365)], ids=str)
async def test_an_expiry_may_be_chosen_up_to_a_year_from_now(house: House, ada: Person, life: timedelta) -> None:
    chosen = house.clock.now() + life
    made = await make(ada, expiresAt=chosen.isoformat())
    assert parts(made.token)[1]["exp"] == int(chosen.timestamp())
    assert (await show(house, made.token)).data["viewer"]["id"] == ada.id


@pytest.mark.parametrize(
    "chosen",
    [
        lambda now: (now + timedelta(days=365, minutes=1)).isoformat(),
        lambda now: (now + timedelta(milliseconds=900)).isoformat(),
        lambda now: now.isoformat(),
        lambda now: (now - timedelta(days=1)).isoformat(),
        lambda now: (now + timedelta(days=1)).replace(tzinfo=None).isoformat(),
        lambda _: "0001-01-01T00:00:00+23:59",
        lambda _: "9999-12-31T23:59:59-23:59",
        lambda _: "1970-01-01T00:00:00Z",
    ],
    ids=[
        "more than a year",
        "less than a second",
        "now",
        "yesterday",
        "in no time zone",
        "before time",
        "after time",
        "the epoch",
    ],
)
async def test_an_expiry_that_is_past_too_near_or_more_than_a_year_away_is_refused(
    house: House, ada: Person, chosen: Callable[[datetime], str]
) -> None:
    failed = (await create(ada, expiresAt=chosen(house.clock.now()))).data["createApiToken"]
    assert (failed["__typename"], failed["code"]) == ("CreateApiTokenFailed", "EXPIRY_INVALID")
    assert failed["field"] == "expiresAt"
    assert await listed(ada) == []


@pytest.mark.parametrize(
    ("wrong", "code", "field"),
    [
        ({"name": ""}, "TOKEN_NAME_INVALID", "name"),
        ({"name": "   "}, "TOKEN_NAME_INVALID", "name"),
        ({"name": "x" * 81}, "TOKEN_NAME_INVALID", "name"),
        ({"name": "evil\u202ename"}, "TOKEN_NAME_INVALID", "name"),
        ({"name": "two\nlines"}, "TOKEN_NAME_INVALID", "name"),
        ({"scopes": []}, "SCOPES_MISSING", "scopes"),
        ({"scopes": ["users:write"]}, "SCOPES_NOT_HELD", "scopes"),
        ({"scopes": ["profile:read", "users:read"]}, "SCOPES_NOT_HELD", "scopes"),
        ({"scopes": ["no:such-scope"]}, "SCOPES_NOT_HELD", "scopes"),
        ({"scopes": ["profile:read users:write"]}, "SCOPES_NOT_HELD", "scopes"),
        ({"scopes": [""]}, "SCOPES_NOT_HELD", "scopes"),
        ({"scopes": ["PROFILE:READ"]}, "SCOPES_NOT_HELD", "scopes"),
    ],
)
async def test_a_name_that_does_not_show_and_scopes_that_one_has_not_are_refused_and_nothing_is_made(
    ada: Person, wrong: dict[str, Any], code: str, field: str
) -> None:
    failed = (await create(ada, **wrong)).data["createApiToken"]
    assert (failed["__typename"], failed["code"], failed["field"]) == ("CreateApiTokenFailed", code, field)
    assert failed["message"]
    assert await listed(ada) == []


async def test_a_scope_that_is_chosen_twice_is_there_once(house: House, ada: Person) -> None:
    made = await make(ada, ["profile:read", "profile:read"])
    assert (await show(house, made.token)).data["viewer"]["scopes"] == ["profile:read"]


async def test_making_one_needs_a_recent_login_which_a_silent_renewal_is_not(house: House) -> None:
    ada = await house.person("ada")
    house.clock.move(timedelta(minutes=59))
    assert (await create(ada)).data["createApiToken"]["__typename"] == "CreateApiTokenSucceeded"
    house.clock.move(timedelta(minutes=2))
    answer = await create(ada)
    assert (answer.code, answer.reason) == ("FORBIDDEN", "STEP_UP_REQUIRED")
    assert len(await listed(ada)) == 1
    await ada.client.log_in(ada.email)
    assert (await create(ada)).data["createApiToken"]["__typename"] == "CreateApiTokenSucceeded"


async def test_nobody_makes_one_without_a_credential(nobody: Client) -> None:
    answer = await nobody.ask(CREATE, {"input": {"name": "x", "scopes": ["profile:read"]}})
    assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "NOT_AUTHENTICATED")


async def test_a_person_has_fifty_at_most_and_those_that_ended_do_not_count(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    soon = (house.clock.now() + timedelta(minutes=10)).isoformat()
    first = await make(ada, expiresAt=soon)
    for _ in range(49):
        await make(ada)

    failed = (await create(ada)).data["createApiToken"]
    assert (failed["code"], failed["field"]) == ("TOO_MANY", None)
    assert (await make(await house.person("eve"))).token  # another's do not count either

    await ada.ask(REVOKE, {"input": {"id": first.id}})
    await make(ada, expiresAt=soon)
    assert (await create(ada)).data["createApiToken"]["code"] == "TOO_MANY"
    house.clock.move(timedelta(minutes=11))
    await make(ada)


# --- Shown once ------------------------------------------------------------------------------------------------------


async def test_the_token_is_shown_once_and_stands_nowhere_in_the_database(open_house: OpenHouse) -> None:
    house = await open_house("own")
    ada = await house.person("ada")
    made = await make(ada)
    await show(house, made.token)
    again = await ada.ask(LIST)
    assert made.id in again.response.text
    assert not any(part in again.response.text for part in made.token.split("."))
    text_stored = stored(house)
    assert row_id(made.id).encode() in text_stored  # we look in the right place
    _, payload, signature = made.token.split(".")
    for text in (made.token, payload, signature, signature.rstrip("=")):
        assert text.encode() not in text_stored
    assert base64.urlsafe_b64decode(signature + "==") not in text_stored


async def test_the_list_says_of_each_what_it_is_for_and_until_when_the_newest_first(ada: Person) -> None:
    first = await make(ada, ["profile:read"], name="  nightly report ")
    second = await make(ada, ["sessions:read", "profile:read"], name="on Ada's boat")
    rows = await listed(ada)
    assert [(row["id"], row["name"], row["scopes"]) for row in rows] == [
        (second.id, "on Ada's boat", ["profile:read", "sessions:read"]),
        (first.id, "nightly report", ["profile:read"]),
    ]
    assert {(row["lastUsedAt"], row["lastUsedAddress"]) for row in rows} == {(None, None)}
    assert all(instant(row["createdAt"]) < instant(row["expiresAt"]) for row in rows)


async def test_the_list_is_paged_by_cursor(ada: Person) -> None:
    made = [(await make(ada, name=f"token {place}")).id for place in range(5)]
    seen: list[str] = []
    after = None
    while True:
        page = (await ada.ask(LIST, {"first": 2, "after": after})).data["viewer"]["apiTokens"]
        seen += [node["id"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == made[::-1]


async def test_the_last_use_is_noted_to_the_minute_with_its_address(house: House) -> None:
    ada = await house.person("ada")
    made = await make(ada)
    await show(house, made.token)
    (row,) = await listed(ada)
    first = instant(row["lastUsedAt"])
    assert timedelta(0) <= house.clock.now() - first < timedelta(minutes=1)
    assert row["lastUsedAddress"] == "127.0.0.1"

    house.clock.move(timedelta(seconds=30))
    await show(house, made.token)
    assert instant((await listed(ada))[0]["lastUsedAt"]) == first

    house.clock.move(timedelta(seconds=31))
    await show(house, made.token)
    assert instant((await listed(ada))[0]["lastUsedAt"]) >= first + timedelta(minutes=1)


async def test_a_token_that_is_refused_was_not_used(house: House, ada: Person) -> None:
    made = await make(ada)
    spoiled = made.token[:-2] + ("A" if made.token[-2] != "A" else "B") + made.token[-1]
    assert (await show(house, spoiled)).reason == "TOKEN_INVALID"
    assert (await listed(ada))[0]["lastUsedAt"] is None


# --- What it is worth ------------------------------------------------------------------------------------------------


async def test_a_token_whose_owner_loses_a_role_stops_granting_it_on_the_next_request(
    house: House, grace: Person
) -> None:
    mary = await house.person("mary", administrator=True)
    made = await make(mary, ["profile:read", "users:read"])
    everybody = "{ users(first: 1) { nodes { id } } }"
    assert (await show(house, made.token, everybody)).data["users"]["nodes"]

    await set_roles(grace, mary, "USER")
    refusal = (await show(house, made.token, everybody)).refusal
    assert (refusal["reason"], refusal["granted"]) == ("INSUFFICIENT_SCOPE", ["profile:read"])
    assert (await show(house, made.token)).data["viewer"]["scopes"] == ["profile:read"]

    await set_roles(grace, mary)
    assert (await show(house, made.token)).data["viewer"]["scopes"] == []

    await set_roles(grace, mary, "USER", "ADMIN")
    assert (await show(house, made.token)).data["viewer"]["scopes"] == ["profile:read", "users:read"]


async def test_a_token_whose_owner_gains_a_role_is_never_worth_more_than_was_chosen(
    house: House, ada: Person, grace: Person
) -> None:
    made = await make(ada, ["profile:read"])
    await set_roles(grace, ada, "USER", "ADMIN")
    assert "users:write" in (await ada.ask(WHAT_I_MAY)).data["viewer"]["scopes"]
    assert (await show(house, made.token)).data["viewer"]["scopes"] == ["profile:read"]
    assert (await show(house, made.token, "{ users { nodes { id } } }")).reason == "INSUFFICIENT_SCOPE"


@pytest.fixture(scope="session")
async def owner_and_administrator(house: House) -> tuple[Person, Person]:
    """Two people whom all examples of the property share."""
    return await house.person("mary", administrator=True), await house.person("grace", administrator=True)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    chosen=st.frozensets(st.sampled_from(sorted(CORE_SCOPES)), min_size=1),
    then=st.lists(st.frozensets(st.sampled_from(["USER", "ADMIN"])), min_size=1, max_size=4),
)
async def test_whatever_its_owners_roles_become_a_token_is_worth_its_scopes_that_they_grant_and_no_more(
    house: House,
    owner_and_administrator: tuple[Person, Person],
    chosen: frozenset[str],
    then: list[frozenset[str]],
) -> None:
    mary, grace = owner_and_administrator
    for person in owner_and_administrator:
        await person.client.log_in(person.email)  # recently, whatever other tests did to the clock
    await set_roles(grace, mary, "USER", "ADMIN")
    made = await make(mary, chosen)
    for roles in then:
        await set_roles(grace, mary, *sorted(roles))
        granted = rights().of_roles(frozenset(role.lower() for role in roles))
        worth = (await show(house, made.token)).data["viewer"]["scopes"]
        assert worth == sorted(chosen & granted)
    await set_roles(grace, mary, "USER", "ADMIN")
    await mary.ask(REVOKE, {"input": {"id": made.id}})


async def test_a_token_of_somebody_disabled_is_refused_until_they_are_enabled(
    house: House, ada: Person, grace: Person
) -> None:
    made = await make(ada)
    assert (await show(house, made.token)).data["viewer"]["id"] == ada.id
    await grace.ask(DISABLE, {"input": {"id": ada.user_id}})
    answer = await show(house, made.token)
    assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "ACCOUNT_DISABLED")
    # Unlike sessions, which ended: nobody revoked the token.
    await grace.ask(ENABLE, {"input": {"id": ada.user_id}})
    assert (await show(house, made.token)).data["viewer"]["id"] == ada.id


async def test_a_changed_password_and_a_logout_leave_api_tokens_alone(house: House, ada: Person) -> None:
    made = await make(ada)
    changed = {"currentPassword": PASSWORD, "newPassword": "a windmill turns all night"}
    answer = await ada.ask(CHANGE_PASSWORD, {"input": changed})
    assert answer.data["changePassword"]["__typename"] == "ChangePasswordSucceeded"
    assert (await show(house, made.token)).data["viewer"]["id"] == ada.id
    await ada.ask(LOG_OUT)
    assert (await show(house, made.token)).data["viewer"]["id"] == ada.id


# --- The end of one --------------------------------------------------------------------------------------------------


async def test_a_revoked_token_is_refused_on_its_next_request_and_leaves_the_list(house: House, ada: Person) -> None:
    revoked, kept = await make(ada), await make(ada, name="another")
    assert (await show(house, revoked.token)).data["viewer"]["id"] == ada.id
    answer = await ada.ask(REVOKE, {"input": {"id": revoked.id}})
    assert answer.data["revokeApiToken"]["apiToken"]["id"] == revoked.id
    refused = await show(house, revoked.token)
    assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
    assert [row["id"] for row in await listed(ada)] == [kept.id]
    assert (await show(house, kept.token)).data["viewer"]["id"] == ada.id


async def test_revoking_one_twice_or_one_that_never_was_says_that_it_is_gone(ada: Person) -> None:
    made = await make(ada)
    await ada.ask(REVOKE, {"input": {"id": made.id}})
    assert (await ada.ask(REVOKE, {"input": {"id": made.id}})).code == "NOT_FOUND"
    for row in (row_id(SOMEBODY), "1", "' OR 1=1 --"):
        never = base64.b64encode(f"ApiToken:{row}".encode()).decode()
        assert (await ada.ask(REVOKE, {"input": {"id": never}})).code == "NOT_FOUND"
    assert (await ada.ask(REVOKE, {"input": {"id": ada.user_id}})).code == "BAD_USER_INPUT"


async def test_anothers_token_cannot_be_seen_or_revoked_not_even_by_an_administrator(
    house: House, ada: Person, grace: Person
) -> None:
    made = await make(ada)
    assert (await ada.ask(NODE, {"id": made.id})).data["node"] == {"__typename": "ApiToken", "id": made.id}
    for other in (await house.person("eve"), grace):
        assert (await other.ask(REVOKE, {"input": {"id": made.id}})).code == "NOT_FOUND"
        assert (await other.ask(NODE, {"id": made.id})).data["node"] is None
        assert await listed(other) == []
    assert (await show(house, made.token)).data["viewer"]["id"] == ada.id


async def test_a_revoked_token_is_no_node_any_more_and_one_without_the_scope_sees_none(
    house: House, ada: Person
) -> None:
    seeing, blind = await make(ada, ["tokens:read"]), await make(ada, ["profile:read"])
    by_script = house.client()
    for made, found in ((seeing, {"__typename": "ApiToken", "id": blind.id}), (blind, None)):
        bearer = {"authorization": f"Bearer {made.token}"}
        assert (await by_script.ask(NODE, {"id": blind.id}, **bearer)).data["node"] == found
    assert (await show(house, blind.token, LIST)).reason == "INSUFFICIENT_SCOPE"
    assert len((await show(house, seeing.token, LIST)).data["viewer"]["apiTokens"]["nodes"]) == 2
    await ada.ask(REVOKE, {"input": {"id": blind.id}})
    assert (await ada.ask(NODE, {"id": blind.id})).data["node"] is None


async def test_a_token_expires_when_it_says_whether_or_not_it_was_ever_used(house: House) -> None:
    ada = await house.person("ada")
    soon = (house.clock.now() + timedelta(minutes=2)).isoformat()
    used, unused = await make(ada, expiresAt=soon), await make(ada, expiresAt=soon)
    assert (await show(house, used.token)).data["viewer"]["id"] == ada.id
    house.clock.move(timedelta(minutes=2))
    for made in (used, unused):
        answer = await show(house, made.token)
        assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")
        assert (await ada.ask(REVOKE, {"input": {"id": made.id}})).code == "NOT_FOUND"
    assert await listed(ada) == []


async def test_a_token_outlives_the_rotation_of_the_key_that_signed_it_and_not_its_expiry(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    ada = await house.person("ada")
    year = (house.clock.now() + timedelta(days=365)).isoformat()
    made, unused = await make(ada, expiresAt=year), await make(ada, expiresAt=year)
    for _ in range(4):  # the schedule turns the ring every 90 days, at the next login
        house.clock.move(timedelta(days=91))
        await ada.client.log_in(ada.email)
        assert (await show(house, made.token)).data["viewer"]["id"] == ada.id
    house.clock.move(timedelta(days=2))
    assert [(await show(house, token.token)).code for token in (made, unused)] == ["UNAUTHENTICATED"] * 2


# --- Where it is refused ---------------------------------------------------------------------------------------------


def test_the_fields_that_want_a_person_are_all_known_here() -> None:
    assert set(FOR_HUMANS) == set(_guarded_by("isHuman", build_schema().schema._schema))


def _guarded_by(directive: str, schema: GraphQLSchema) -> list[str]:
    return [
        f"{kind.name}.{name}"
        for kind in schema.type_map.values()
        for name, field in getattr(kind, "fields", {}).items()
        for used in getattr(field.extensions.get("strawberry-definition"), "directives", ())
        if type(used).__strawberry_directive__.graphql_name == directive
    ]


@pytest.mark.parametrize("field", FOR_HUMANS)
async def test_a_token_with_every_scope_is_refused_where_a_person_is_wanted(
    house: House, grace: Person, field: str
) -> None:
    made = await make(grace, sorted(CORE_SCOPES))
    answer = await show(house, made.token, FOR_HUMANS[field])
    assert (answer.code, answer.reason) == ("FORBIDDEN", "HUMAN_REQUIRED")


async def test_a_token_cannot_make_another_or_revoke_itself(house: House, ada: Person) -> None:
    made = await make(ada, ["profile:read", "tokens:read"])
    bearer = {"authorization": f"Bearer {made.token}"}
    made_by_it = await house.client().ask(CREATE, {"input": {"name": "x", "scopes": ["profile:read"]}}, **bearer)
    assert made_by_it.reason == "HUMAN_REQUIRED"
    assert (await house.client().ask(REVOKE, {"input": {"id": made.id}}, **bearer)).reason == "HUMAN_REQUIRED"
    assert [row["id"] for row in await listed(ada)] == [made.id]


async def test_a_token_logs_nobody_out(house: House, ada: Person) -> None:
    made = await make(ada)
    assert (await show(house, made.token, LOG_OUT)).data == {"logout": {"sessionEnded": False}}
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["session"]["isCurrent"]
    assert (await show(house, made.token)).data["viewer"]["id"] == ada.id


async def test_a_token_never_passes_a_guard_that_asks_for_a_role(open_house: OpenHouse) -> None:
    @strawberry.type
    class Query:
        @strawberry.field(permission_classes=[has_role("admin")], description="For administrators in person.")
        def vault(self) -> str | None:
            return "open"

    house = await open_house(domains=[Domain(name="vaults", query=Query)])
    grace = await house.person("grace", administrator=True)
    made = await make(grace, sorted(CORE_SCOPES))
    assert (await grace.ask("{ vault }")).data == {"vault": "open"}
    refusal = (await show(house, made.token, "{ vault }")).refusal
    assert (refusal["code"], refusal["reason"]) == ("FORBIDDEN", "INSUFFICIENT_ROLE")
    assert (refusal["required"], refusal["granted"]) == (["admin"], [])


async def test_a_token_travels_in_the_header_alone_and_not_in_a_cookie(house: House, ada: Person) -> None:
    made = await make(ada)
    session = ada.client.cookies["watchword-session"]
    for cookie in (
        f"watchword-access={made.token}",
        f"watchword-access={made.token}; watchword-session={session}",
        f"watchword-session={session}; watchword-access={made.token}",
    ):
        answer = await house.client().ask(WHAT_I_MAY, cookie=cookie)
        assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")
        assert "set-cookie" not in answer.response.headers
    answer = await house.client().ask(WHAT_I_MAY, cookie=f"watchword-session={made.token}")
    assert answer.reason == "SESSION_UNKNOWN"


@pytest.mark.parametrize("scheme", ["Basic", "Token", "JWT", "DPoP", ""])
async def test_a_token_is_taken_as_a_bearer_token_only(house: House, ada: Person, scheme: str) -> None:
    made = await make(ada)
    answer = await house.client().ask(WHAT_I_MAY, authorization=f"{scheme} {made.token}".strip())
    assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "CREDENTIAL_MALFORMED")


async def test_a_token_of_another_installation_is_refused(house: House, open_house: OpenHouse) -> None:
    elsewhere = await open_house("elsewhere")
    made = await make(await elsewhere.person("ada"))
    assert (await show(elsewhere, made.token)).data["viewer"]
    assert (await show(house, made.token)).reason == "TOKEN_INVALID"


async def test_a_token_whose_row_is_gone_as_after_a_restored_backup_is_refused(open_house: OpenHouse) -> None:
    house = await open_house()
    made = await make(await house.person("ada"))
    assert (await show(house, made.token)).data["viewer"]
    rows(house, "DELETE FROM api_tokens")
    assert (await show(house, made.token)).reason == "TOKEN_INVALID"
