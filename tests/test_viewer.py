"""Whoever calls, and nodes."""

import pytest

from auth.scopes import CORE_SCOPES, USER, rights
from tests.house import WHO_AM_I, Client, OpenHouse, Person

ON_BOTH_ENGINES = True

NODE = "query($id: ID!) { node(id: $id) { __typename id } }"


async def test_the_viewer_is_whoever_calls(ada: Person) -> None:
    viewer = (await ada.ask(WHO_AM_I)).data["viewer"]
    assert viewer["kind"] == "USER"
    assert viewer["scopes"] == sorted(rights().of_roles({USER}))
    assert viewer["user"]["email"] == ada.email
    assert viewer["session"]["isCurrent"] is True


async def test_nobody_is_told_that_no_credential_was_presented(nobody: Client) -> None:
    answer = await nobody.ask(WHO_AM_I)
    assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "NOT_AUTHENTICATED")
    assert answer.body["data"] == {"viewer": None}


async def test_one_refusal_does_not_take_its_siblings_along(ada: Person) -> None:
    answer = await ada.ask("{ viewer { id } users { nodes { id } } }")
    assert answer.body["data"] == {"viewer": {"id": ada.id}, "users": None}
    assert answer.code == "FORBIDDEN"


async def test_an_administrator_holds_every_scope(grace: Person) -> None:
    viewer = (await grace.ask(WHO_AM_I)).data["viewer"]
    assert viewer["scopes"] == sorted(CORE_SCOPES)


async def test_everything_with_an_id_is_found_again_by_it(ada: Person) -> None:
    viewer = (await ada.ask(WHO_AM_I)).data["viewer"]
    for kind, node_id in (("Viewer", ada.id), ("User", ada.user_id), ("Session", viewer["session"]["id"])):
        assert (await ada.ask(NODE, {"id": node_id})).data["node"] == {"__typename": kind, "id": node_id}


@pytest.mark.parametrize("encoded", ["Tm9kZTox", "UXVlcnk6MQ==", "Tm9wZTox", "VXNlcjox", "Vmlld2VyOg==", "VXNlcjo="])
async def test_an_id_of_nothing_is_null(ada: Person, encoded: str) -> None:
    assert (await ada.ask(NODE, {"id": encoded})).data["node"] is None


@pytest.mark.parametrize("encoded", ["", "x", "é", "====", "a" * 10_000])
async def test_what_is_no_id_is_bad_input(ada: Person, encoded: str) -> None:
    assert (await ada.ask(NODE, {"id": encoded})).code == "BAD_USER_INPUT"


async def test_a_person_who_has_no_roles_sees_that_they_may_nothing(open_house: OpenHouse) -> None:
    house = await open_house()
    user = await house.auth.users.create(
        email="bare@example.org", password="a windmill turns all night", display_name="Bare", roles=frozenset()
    )
    client = house.client()
    await client.log_in(user.email, "a windmill turns all night")
    answer = await client.ask("{ viewer { kind scopes user { id } } }")
    assert answer.body["data"]["viewer"] == {"kind": "USER", "scopes": [], "user": None}
    assert answer.refusal["required"] == ["profile:read"]
