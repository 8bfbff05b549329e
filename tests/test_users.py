"""People, and what administrators do with their accounts."""

import base64
from datetime import timedelta

import pytest

from auth.identity import Identity, IdentityKind
from auth.refusals import Forbidden, Unauthenticated
from tests.house import WHO_AM_I, House, OpenHouse, Person

ON_BOTH_ENGINES = True

USERS = """
query Users($first: Int! = 20, $after: String, $search: String) {
  users(first: $first, after: $after, search: $search) {
    nodes { id email displayName roles createdAt disabledAt }
    pageInfo { hasNextPage endCursor }
  }
}
"""
SET_ROLES = "mutation($input: SetUserRolesInput!) { setUserRoles(input: $input) { user { id roles } } }"
DISABLE = "mutation($input: DisableUserInput!) { disableUser(input: $input) { user { id disabledAt } } }"
ENABLE = "mutation($input: EnableUserInput!) { enableUser(input: $input) { user { id disabledAt } } }"
NODE = "query($id: ID!) { node(id: $id) { __typename ... on User { email } } }"


async def test_an_administrator_sees_everybody_the_newest_first(open_house: OpenHouse) -> None:
    house = await open_house()
    grace = await house.person("grace", administrator=True)
    people = [await house.person("ada") for _ in range(3)]
    page = (await grace.ask(USERS, {"first": 2})).data["users"]
    assert [node["email"] for node in page["nodes"]] == [people[2].email, people[1].email]
    rest = (await grace.ask(USERS, {"after": page["pageInfo"]["endCursor"]})).data["users"]
    assert [node["email"] for node in rest["nodes"]] == [people[0].email, grace.email]
    assert not rest["pageInfo"]["hasNextPage"]


@pytest.mark.parametrize("search", ["hypa", "HYPA", "Hypatia of Al", " hypatia "])
async def test_a_search_finds_by_how_the_address_or_the_name_begins(open_house: OpenHouse, search: str) -> None:
    house = await open_house()
    grace = await house.person("grace", administrator=True)
    await house.person("ada")
    await house.person("Hypatia of Alexandria".lower().replace(" ", "."))
    await house.auth.users.create(
        email="h@example.org", password="a windmill turns all night", display_name="Hypatia of Alexandria"
    )
    found = [node["email"] for node in (await grace.ask(USERS, {"search": search})).data["users"]["nodes"]]
    assert "h@example.org" in found
    assert all("ada" not in email for email in found)


@pytest.mark.parametrize("search", ["%", "_", "ada%", "'; DROP TABLE users; --"])
async def test_no_letter_of_a_search_is_a_wildcard(grace: Person, ada: Person, search: str) -> None:
    assert ada.email
    assert (await grace.ask(USERS, {"search": search})).data["users"]["nodes"] == []


async def test_a_user_sees_themselves_and_nobody_else(house: House, ada: Person) -> None:
    eve = await house.person("eve")
    assert (await ada.ask(NODE, {"id": ada.user_id})).data["node"]["email"] == ada.email
    assert (await eve.ask(NODE, {"id": ada.user_id})).data["node"] is None
    refused = await eve.ask(USERS)
    assert (refused.code, refused.refusal["required"]) == ("FORBIDDEN", ["users:read"])


async def test_a_role_counts_from_the_next_request_on_and_so_does_its_loss(ada: Person, grace: Person) -> None:
    assert (await ada.ask(USERS)).code == "FORBIDDEN"
    given = await grace.ask(SET_ROLES, {"input": {"id": ada.user_id, "roles": ["USER", "ADMIN"]}})
    assert given.data["setUserRoles"]["user"]["roles"] == ["USER", "ADMIN"]
    assert (await ada.ask(USERS)).data["users"]["nodes"]
    await grace.ask(SET_ROLES, {"input": {"id": ada.user_id, "roles": []}})
    assert (await ada.ask(USERS)).code == "FORBIDDEN"
    assert (await ada.ask("{ viewer { scopes } }")).data["viewer"]["scopes"] == []


async def test_a_disabled_person_is_out_at_once_and_their_sessions_do_not_come_back(
    house: House, ada: Person, grace: Person
) -> None:
    disabled = (await grace.ask(DISABLE, {"input": {"id": ada.user_id}})).data["disableUser"]["user"]
    assert disabled["disabledAt"]
    assert (await ada.ask(WHO_AM_I)).code == "UNAUTHENTICATED"
    enabled = (await grace.ask(ENABLE, {"input": {"id": ada.user_id}})).data["enableUser"]["user"]
    assert enabled["disabledAt"] is None
    assert (await ada.ask(WHO_AM_I)).reason == "SESSION_REVOKED"
    assert (await house.client().log_in(ada.email)).data["login"]["__typename"] == "LoginSucceeded"


async def test_the_last_administrator_can_be_neither_disabled_nor_deprived(open_house: OpenHouse) -> None:
    house = await open_house()
    grace = await house.person("grace", administrator=True)
    attempts: list[tuple[str, dict[str, object]]] = [(DISABLE, {}), (SET_ROLES, {"roles": ["USER"]})]
    for act, details in attempts:
        answer = await grace.ask(act, {"input": {"id": grace.user_id, **details}})
        assert (answer.code, answer.reason) == ("CONFLICT", "LAST_ADMINISTRATOR")
    other = await house.person("hopper", administrator=True)
    assert (await grace.ask(DISABLE, {"input": {"id": grace.user_id}})).data["disableUser"]
    # The one who is left is now the last: a disabled administrator does not count.
    assert (await other.ask(SET_ROLES, {"input": {"id": other.user_id, "roles": []}})).code == "CONFLICT"


async def test_administering_wants_a_recent_login(open_house: OpenHouse) -> None:
    house = await open_house()
    grace, ada = await house.person("grace", administrator=True), await house.person("ada")
    house.clock.move(timedelta(hours=1, minutes=1))
    answer = await grace.ask(DISABLE, {"input": {"id": ada.user_id}})
    assert (answer.code, answer.reason) == ("FORBIDDEN", "STEP_UP_REQUIRED")
    await grace.client.log_in(grace.email)
    assert (await grace.ask(DISABLE, {"input": {"id": ada.user_id}})).data["disableUser"]


@pytest.mark.parametrize("act", [DISABLE, ENABLE, SET_ROLES])
async def test_somebody_who_is_not_there_is_not_found(grace: Person, act: str) -> None:
    nobodys_id = "VXNlcjowMDAwMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDA="
    details: dict[str, object] = {"roles": []} if act is SET_ROLES else {}
    assert (await grace.ask(act, {"input": {"id": nobodys_id, **details}})).code == "NOT_FOUND"


async def test_who_was_disabled_while_their_mutation_waited_cannot_undo_it(open_house: OpenHouse) -> None:
    house = await open_house()
    grace, hopper = [await house.person(name, administrator=True) for name in ("grace", "hopper")]
    # The identity that Hopper's operation was let in with, before Grace's act.
    let_in = await identity_of(hopper)
    await grace.ask(DISABLE, {"input": {"id": hopper.user_id}})
    users, sessions = house.auth.users, house.auth.sessions
    for act in (
        users.enable(let_in, row_id(hopper.user_id)),
        users.disable(let_in, row_id(grace.user_id)),
        users.set_roles(let_in, row_id(hopper.user_id), frozenset({"admin"})),
        sessions.revoke_others(let_in),
    ):
        with pytest.raises(Unauthenticated):
            await act
    assert (await grace.ask("{ viewer { id } }")).data["viewer"]["id"] == grace.id


async def test_who_lost_the_role_while_their_mutation_waited_is_refused(open_house: OpenHouse) -> None:
    house = await open_house()
    grace, hopper = [await house.person(name, administrator=True) for name in ("grace", "hopper")]
    let_in = await identity_of(hopper)
    await grace.ask(SET_ROLES, {"input": {"id": hopper.user_id, "roles": ["USER"]}})
    with pytest.raises(Forbidden):
        await house.auth.users.set_roles(let_in, row_id(hopper.user_id), frozenset({"admin"}))


async def identity_of(person: Person) -> Identity:
    viewer = (await person.ask("{ viewer { scopes session { id } } }")).data["viewer"]
    return Identity(
        kind=IdentityKind.USER,
        subject=row_id(person.user_id),
        session_id=row_id(viewer["session"]["id"]),
        scopes=frozenset(viewer["scopes"]),
    )


def row_id(node_id: str) -> str:
    return base64.b64decode(node_id).decode().partition(":")[2]
