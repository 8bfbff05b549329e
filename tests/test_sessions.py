"""Sessions: seeing them, and ending them."""

from datetime import timedelta

from tests.house import PASSWORD, WHO_AM_I, House, OpenHouse, Person

ON_BOTH_ENGINES = True

SESSIONS = """
query Sessions($first: Int! = 20, $after: String) {
  viewer {
    sessions(first: $first, after: $after) {
      nodes { id deviceName userAgent address createdAt authenticatedAt lastSeenAt expiresAt isCurrent }
      edges { cursor node { id } }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
  }
}
"""
REVOKE = "mutation($input: RevokeSessionInput!) { revokeSession(input: $input) { session { id } } }"
REVOKE_OTHERS = "mutation { revokeOtherSessions { endedSessions } }"
NODE = "query($id: ID!) { node(id: $id) { __typename id } }"


async def current_session(person: Person) -> str:
    return str((await person.ask(WHO_AM_I)).data["viewer"]["session"]["id"])


async def test_a_person_sees_where_they_are_logged_in(house: House) -> None:
    ada = await house.person("ada")
    phone = house.client(**{"user-agent": "Telephone/1.0"})
    await phone.log_in(ada.email, deviceName="Ada's telephone")
    sessions = (await ada.ask(SESSIONS)).data["viewer"]["sessions"]["nodes"]
    assert [(session["deviceName"], session["isCurrent"]) for session in sessions] == [
        ("Ada's telephone", False),
        (None, True),
    ]
    assert sessions[0]["userAgent"] == "Telephone/1.0"
    assert sessions[0]["address"] == "127.0.0.1"


async def test_sessions_are_paged_by_cursor_while_new_ones_come(house: House, ada: Person) -> None:
    for _ in range(4):
        await house.client().log_in(ada.email)
    seen: list[str] = []
    after = None
    while True:
        page = (await ada.ask(SESSIONS, {"first": 2, "after": after})).data["viewer"]["sessions"]
        seen += [node["id"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
        await house.client().log_in(ada.email)
    assert len(seen) == len(set(seen)) == 5


async def test_a_session_that_is_revoked_is_refused_on_its_next_request(house: House, ada: Person) -> None:
    other = house.client()
    await other.log_in(ada.email)
    session = (await other.ask(WHO_AM_I)).data["viewer"]["session"]["id"]
    assert (await ada.ask(REVOKE, {"input": {"id": session}})).data["revokeSession"]["session"]["id"] == session
    assert (await other.ask(WHO_AM_I)).reason == "SESSION_REVOKED"
    assert session not in str((await ada.ask(SESSIONS)).body)


async def test_a_person_cannot_end_somebody_elses_session(house: House, ada: Person) -> None:
    eve = await house.person("eve")
    answer = await eve.ask(REVOKE, {"input": {"id": await current_session(ada)}})
    assert answer.code == "NOT_FOUND"
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id


async def test_not_even_an_administrator_ends_a_session_that_is_not_theirs_so(grace: Person, ada: Person) -> None:
    assert (await grace.ask(REVOKE, {"input": {"id": await current_session(ada)}})).code == "NOT_FOUND"


async def test_ending_a_session_twice_says_that_it_is_gone(house: House, ada: Person) -> None:
    other = house.client()
    await other.log_in(ada.email)
    session = (await other.ask(WHO_AM_I)).data["viewer"]["session"]["id"]
    await ada.ask(REVOKE, {"input": {"id": session}})
    assert (await ada.ask(REVOKE, {"input": {"id": session}})).code == "NOT_FOUND"


async def test_an_id_of_another_kind_is_bad_input(ada: Person) -> None:
    assert (await ada.ask(REVOKE, {"input": {"id": ada.user_id}})).code == "BAD_USER_INPUT"


async def test_ending_the_others_leaves_the_one_that_calls(house: House, ada: Person) -> None:
    others = [house.client(), house.client()]
    for other in others:
        await other.log_in(ada.email)
    assert (await ada.ask(REVOKE_OTHERS)).data["revokeOtherSessions"]["endedSessions"] == 2
    assert [(await other.ask(WHO_AM_I)).reason for other in others] == ["SESSION_REVOKED"] * 2
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id


async def test_a_session_is_a_node_to_its_owner_only(ada: Person, grace: Person) -> None:
    session = await current_session(ada)
    assert (await ada.ask(NODE, {"id": session})).data["node"] == {"__typename": "Session", "id": session}
    assert (await grace.ask(NODE, {"id": session})).data["node"] is None


async def test_a_session_that_is_used_lives_on_and_one_that_is_not_dies(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    idle = house.client()
    await idle.log_in(ada.email)
    stolen = dict(idle.cookies)
    for _ in range(4):
        house.clock.move(timedelta(days=10))
        assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id
    idle.cookies.update(stolen)
    cookie = f"watchword-session={stolen['watchword-session']}"
    assert (await idle.ask(WHO_AM_I, cookie=cookie)).reason == "SESSION_EXPIRED"
    assert len((await ada.ask(SESSIONS)).data["viewer"]["sessions"]["nodes"]) == 1


async def test_no_session_outlives_ninety_days_however_it_is_used(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    kept = ada.client.cookies["watchword-session"]
    for _ in range(8):
        house.clock.move(timedelta(days=10))
        assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id
    house.clock.move(timedelta(days=11))
    answer = await house.client().ask(WHO_AM_I, cookie=f"watchword-session={kept}")
    assert answer.reason == "SESSION_EXPIRED"


async def test_a_page_is_of_a_hundred_at_most(ada: Person) -> None:
    for first in (0, -1, 101, 2**31 - 1):
        assert (await ada.ask(SESSIONS, {"first": first})).code == "BAD_USER_INPUT"


async def test_a_cursor_that_is_not_ours_is_bad_input(ada: Person) -> None:
    for after in ("", "x", "YWZ0ZXI6MQ==", "é", "YWZ0ZXI6", "a" * 5000):
        assert (await ada.ask(SESSIONS, {"after": after})).code == "BAD_USER_INPUT"


async def test_a_changed_password_ends_the_other_sessions(house: House, ada: Person) -> None:
    change = """mutation($input: ChangePasswordInput!) { changePassword(input: $input) {
        __typename ... on ChangePasswordSucceeded { endedSessions } ... on ChangePasswordFailed { code field } } }"""
    other, new = house.client(), "a windmill turns all night"
    await other.log_in(ada.email)

    wrong = await ada.ask(change, {"input": {"currentPassword": "not it, not it", "newPassword": new}})
    assert wrong.data["changePassword"] == {
        "__typename": "ChangePasswordFailed",
        "code": "CURRENT_PASSWORD_WRONG",
        "field": "currentPassword",
    }
    weak = await ada.ask(change, {"input": {"currentPassword": PASSWORD, "newPassword": "password1234"}})
    assert weak.data["changePassword"]["field"] == "newPassword"
    assert (await other.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id

    good = await ada.ask(change, {"input": {"currentPassword": PASSWORD, "newPassword": new}})
    assert good.data["changePassword"]["endedSessions"] == 1
    assert (await other.ask(WHO_AM_I)).reason == "SESSION_REVOKED"
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id
    assert (await house.client().log_in(ada.email)).data["login"]["__typename"] == "LoginFailed"
    assert (await house.client().log_in(ada.email, new)).data["login"]["__typename"] == "LoginSucceeded"
