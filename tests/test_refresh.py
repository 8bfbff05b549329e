"""Refresh tokens: a session goes on, lost answers are given again, and a token that two hold ends the session."""

import asyncio
import base64
import json
import sqlite3
import string
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.elsewhere import rows, stored
from tests.faults import full, locked
from tests.house import LOG_OUT, PASSWORD, SIGN_UP, WHO_AM_I, Answer, Client, House, OpenHouse, Person
from tests.running import Server, serving

ON_BOTH_ENGINES = True

LOG_IN = """
mutation LogIn($input: LoginInput!) {
  login(input: $input) { ... on LoginSucceeded { accessToken refreshToken expiresAt viewer { id } } }
}
"""
REFRESH = """
mutation Refresh($input: RefreshInput!) {
  refresh(input: $input) {
    __typename
    ... on RefreshSucceeded { viewer { id scopes session { id } } accessToken refreshToken expiresAt }
    ... on RefreshFailed { code message }
  }
}
"""
EVENTS = "{ viewer { auditEvents(first: 100) { nodes { action actorId subjectId objectId } } } }"
REVOKE = "mutation($input: RevokeSessionInput!) { revokeSession(input: $input) { session { id } } }"
REVOKE_OTHERS = "mutation { revokeOtherSessions { endedSessions } }"
DISABLE = "mutation($input: DisableUserInput!) { disableUser(input: $input) { user { id } } }"
CHANGE_PASSWORD = "mutation($input: ChangePasswordInput!) { changePassword(input: $input) { __typename } }"
SET_ROLES = "mutation($input: SetUserRolesInput!) { setUserRoles(input: $input) { user { id } } }"
CREATE_TOKEN = (
    'mutation { createApiToken(input: { name: "x", scopes: ["profile:read"] }) { __typename } }'  # a recent login's
)

OLD, NEW = "old " * 10, "new " * 10


@dataclass(frozen=True)
class Pair:
    """What a native client holds."""

    access: str
    refresh: str


async def log_in(client: Client, email: str) -> Pair:
    answer = await client.ask(LOG_IN, {"input": {"email": email, "password": PASSWORD, "delivery": "BODY"}})
    login = answer.data["login"]
    return Pair(login["accessToken"], login["refreshToken"])


async def ask_refresh(client: Client, token: str) -> Answer:
    return await client.ask(REFRESH, {"input": {"refreshToken": token}})


async def refresh(client: Client, token: str) -> Pair:
    done = (await ask_refresh(client, token)).data["refresh"]
    assert done["__typename"] == "RefreshSucceeded", done
    return Pair(done["accessToken"], done["refreshToken"])


async def failure(client: Client, token: str) -> str:
    """Return the code with which a refresh fails."""
    failed = (await ask_refresh(client, token)).data["refresh"]
    assert failed["__typename"] == "RefreshFailed", failed
    assert failed["message"]
    return str(failed["code"])


async def call(client: Client, token: str, query: str = WHO_AM_I) -> Answer:
    return await client.ask(query, authorization=f"Bearer {token}")


async def lineage(client: Client, email: str, length: int) -> list[Pair]:
    """Log in and refresh: return what was given at each step."""
    pairs = [await log_in(client, email)]
    while len(pairs) < length:
        pairs.append(await refresh(client, pairs[-1].refresh))
    return pairs


def claims(token: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return said


def row_id(global_id: str) -> str:
    return base64.b64decode(global_id).decode().partition(":")[2]


# --- What is given ---------------------------------------------------------------------------------------------------


async def test_a_login_by_body_gives_a_refresh_token_and_sets_no_cookie(house: House, ada: Person) -> None:
    client = house.client()
    answer = await client.ask(LOG_IN, {"input": {"email": ada.email, "password": PASSWORD, "delivery": "BODY"}})
    token = answer.data["login"]["refreshToken"]
    assert token.startswith("wwr_")
    assert len(token) == len("wwr_") + 75
    assert "set-cookie" not in answer.response.headers


async def test_a_login_by_cookie_gives_no_refresh_token(house: House, ada: Person) -> None:
    answer = await house.client().ask(LOG_IN, {"input": {"email": ada.email, "password": PASSWORD}})
    assert answer.data["login"]["refreshToken"] is None
    assert "wwr_" not in answer.response.text + str(answer.response.headers)


async def test_a_refresh_gives_the_next_pair_in_the_same_session_and_sets_no_cookie(house: House, ada: Person) -> None:
    client = house.client()
    first = await log_in(client, ada.email)
    answer = await ask_refresh(client, first.refresh)
    done = answer.data["refresh"]
    assert done["viewer"]["id"] == ada.id
    assert done["refreshToken"] != first.refresh
    assert done["accessToken"] != first.access
    assert "set-cookie" not in answer.response.headers
    assert answer.response.headers["cache-control"] == "no-store"
    said = claims(done["accessToken"])
    assert said["sid"] == claims(first.access)["sid"] == row_id(done["viewer"]["session"]["id"])
    assert datetime.fromisoformat(done["expiresAt"]).timestamp() == pytest.approx(said["exp"], abs=1)
    assert (await call(client, done["accessToken"])).data["viewer"]["id"] == ada.id


async def test_a_refresh_works_when_the_access_token_has_expired_and_is_sent_along(house: House) -> None:
    ada, client = await house.person("ada"), house.client()
    first = await log_in(client, ada.email)
    house.clock.move(timedelta(minutes=6))
    assert (await call(client, first.access)).reason == "TOKEN_EXPIRED"
    stale = {"authorization": f"Bearer {first.access}"}
    answer = await client.ask(REFRESH, {"input": {"refreshToken": first.refresh}}, **stale)
    assert (await call(client, answer.data["refresh"]["accessToken"])).data["viewer"]["id"] == ada.id


async def test_a_refreshed_access_token_has_the_scopes_of_this_moment(house: House, ada: Person, grace: Person) -> None:
    client = house.client()
    first = await log_in(client, ada.email)
    await grace.ask(SET_ROLES, {"input": {"id": ada.user_id, "roles": ["USER", "ADMIN"]}})
    done = (await ask_refresh(client, first.refresh)).data["refresh"]
    assert "users:write" in done["viewer"]["scopes"]
    assert "users:write" in claims(done["accessToken"])["scope"]
    await grace.ask(SET_ROLES, {"input": {"id": ada.user_id, "roles": ["USER"]}})
    second = await refresh(client, done["refreshToken"])
    assert "users:write" not in claims(second.access)["scope"]


async def test_a_refresh_is_no_login_where_a_recent_one_is_wanted(house: House) -> None:
    ada, client = await house.person("ada"), house.client()
    first = await log_in(client, ada.email)
    house.clock.move(timedelta(minutes=61))
    second = await refresh(client, first.refresh)
    assert claims(second.access)["auth_time"] == claims(first.access)["auth_time"]
    assert (await call(client, second.access, CREATE_TOKEN)).reason == "STEP_UP_REQUIRED"


async def test_two_logins_are_two_lineages(house: House, ada: Person) -> None:
    client = house.client()
    phone, tablet = await lineage(client, ada.email, 3), await lineage(client, ada.email, 2)
    assert claims(phone[0].access)["sid"] != claims(tablet[0].access)["sid"]
    assert await failure(client, phone[0].refresh) == "REFRESH_TOKEN_REUSED"
    await refresh(client, tablet[1].refresh)


async def test_no_refresh_token_stands_in_the_database(open_house: OpenHouse) -> None:
    house = await open_house("own")
    ada = await house.person("ada")
    pairs = await lineage(house.client(), ada.email, 3)
    found = stored(house)
    assert claims(pairs[0].access)["sid"].encode() in found  # we look in the right place
    for pair in pairs:
        body = pair.refresh.removeprefix("wwr_")
        raw = base64.urlsafe_b64decode(body + "=")
        assert not any(text in found for text in (body.encode(), body[-43:].encode(), raw, raw[-32:]))


# --- One step back ---------------------------------------------------------------------------------------------------


async def test_the_token_before_yields_the_current_one_and_an_access_token_that_works(
    house: House, ada: Person
) -> None:
    client = house.client()
    pairs = await lineage(client, ada.email, 3)
    for _ in range(3):  # however often the answer is lost
        again = await refresh(client, pairs[1].refresh)
        assert again.refresh == pairs[2].refresh
        assert (await call(client, again.access)).data["viewer"]["id"] == ada.id
    await refresh(client, pairs[2].refresh)


async def test_a_token_two_steps_old_ends_the_session_for_everybody_who_holds_it(house: House, ada: Person) -> None:
    client = house.client()
    pairs = await lineage(client, ada.email, 3)
    assert (await call(client, pairs[2].access)).data["viewer"]["id"] == ada.id
    assert await failure(client, pairs[0].refresh) == "REFRESH_TOKEN_REUSED"
    assert [(await call(client, pair.access)).reason for pair in pairs] == ["SESSION_REVOKED"] * 3
    assert [await failure(client, pair.refresh) for pair in pairs] == ["SESSION_REVOKED"] * 3
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id  # another session of hers


async def test_reuse_is_recorded_once_with_the_session_and_without_blaming_anybody(house: House, ada: Person) -> None:
    client = house.client()
    pairs = await lineage(client, ada.email, 4)
    for _ in range(2):
        await failure(client, pairs[0].refresh)
    session = claims(pairs[0].access)["sid"]
    events = (await ada.ask(EVENTS)).data["viewer"]["auditEvents"]["nodes"]
    of_it = [event for event in events if event["objectId"] == session]
    assert [event["action"] for event in of_it] == ["SESSION_REUSE", *["SESSION_REFRESH"] * 3, "SESSION_START"]
    assert {event["subjectId"] for event in of_it} == {row_id(ada.id)}
    assert [event["actorId"] for event in of_it] == [None, *[row_id(ada.id)] * 4]  # whose it was, nobody knows


async def test_of_twelve_refreshes_at_once_all_are_given_the_same_next_token(house: House, ada: Person) -> None:
    client = house.client()
    token = (await log_in(client, ada.email)).refresh
    for _ in range(5):
        pairs = await asyncio.gather(*(refresh(client, token) for _ in range(12)))
        assert len({pair.refresh for pair in pairs}) == 1
        assert pairs[0].refresh != token
        token = pairs[0].refresh
    assert (await call(client, pairs[0].access)).data["viewer"]["id"] == ada.id


# --- The end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["logout", "revoked elsewhere", "revoked with the others", "password", "disabled"])
async def test_what_ends_a_session_ends_its_refresh_token(house: House, grace: Person, way: str) -> None:
    ada, client = await house.person("ada"), house.client()
    pair = await log_in(client, ada.email)
    match way:
        case "logout":
            assert (await call(client, pair.access, LOG_OUT)).data["logout"]["sessionEnded"]
        case "revoked elsewhere":
            session = (await call(client, pair.access)).data["viewer"]["session"]["id"]
            assert (await ada.ask(REVOKE, {"input": {"id": session}})).data
        case "revoked with the others":
            assert (await ada.ask(REVOKE_OTHERS)).data["revokeOtherSessions"]["endedSessions"] == 1
        case "password":
            changed = {"currentPassword": PASSWORD, "newPassword": "a windmill turns all night"}
            assert (await ada.ask(CHANGE_PASSWORD, {"input": changed})).data
        case "disabled":
            assert (await grace.ask(DISABLE, {"input": {"id": ada.user_id}})).data
    assert await failure(client, pair.refresh) == "SESSION_REVOKED"


async def test_a_token_of_somebody_whose_account_is_disabled_is_refused_also_if_the_session_was_left(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    ada, client = await house.person("ada"), house.client()
    pair = await log_in(client, ada.email)
    rows(house, "UPDATE users SET disabled_at = 1")
    assert await failure(client, pair.refresh) == "ACCOUNT_DISABLED"
    rows(house, "UPDATE users SET disabled_at = NULL")
    await refresh(client, pair.refresh)


async def test_a_session_that_is_refreshed_lives_on_and_one_that_is_not_dies_after_thirty_days(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    ada, client = await house.person("ada"), house.client()
    used, idle = await log_in(client, ada.email), await log_in(client, ada.email)
    house.clock.move(timedelta(days=29, hours=23))
    used = await refresh(client, used.refresh)
    house.clock.move(timedelta(hours=1))
    assert await failure(client, idle.refresh) == "SESSION_EXPIRED"
    house.clock.move(timedelta(days=28))
    assert (await call(client, (await refresh(client, used.refresh)).access)).data["viewer"]["id"] == ada.id


async def test_a_lost_answer_given_again_does_not_keep_a_session_alive(open_house: OpenHouse) -> None:
    house = await open_house()
    ada, client = await house.person("ada"), house.client()
    first = await log_in(client, ada.email)
    await refresh(client, first.refresh)
    house.clock.move(timedelta(days=29))
    await refresh(client, first.refresh)
    house.clock.move(timedelta(days=1))
    assert await failure(client, first.refresh) == "SESSION_EXPIRED"


async def test_no_session_outlives_ninety_days_however_it_is_refreshed(open_house: OpenHouse) -> None:
    house = await open_house()
    ada, client = await house.person("ada"), house.client()
    pair = await log_in(client, ada.email)
    for _ in range(4):
        house.clock.move(timedelta(days=22))
        pair = await refresh(client, pair.refresh)
    house.clock.move(timedelta(days=1, hours=23, minutes=57))
    pair = await refresh(client, pair.refresh)
    assert claims(pair.access)["exp"] <= (house.clock.now() + timedelta(minutes=3)).timestamp()
    house.clock.move(timedelta(minutes=3))
    assert await failure(client, pair.refresh) == "SESSION_EXPIRED"


# --- What is no refresh token ----------------------------------------------------------------------------------------


@dataclass
class Holder:
    """Somebody whose refresh token goes from example to example."""

    client: Client
    token: str


@pytest.fixture(scope="session")
async def holder(house: House) -> Holder:
    client, ada = house.client(), await house.person("ada")
    return Holder(client, (await log_in(client, ada.email)).refresh)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    place=st.integers(0, 78),
    other=st.sampled_from(string.ascii_letters + string.digits + "-_") | st.characters(exclude_categories=["Cs"]),
)
async def test_a_token_with_any_character_changed_is_invalid_and_the_session_unharmed(
    holder: Holder, place: int, other: str
) -> None:
    assume(holder.token[place] != other)
    changed = holder.token[:place] + other + holder.token[place + 1 :]
    assert await failure(holder.client, changed) == "REFRESH_TOKEN_INVALID"
    holder.token = (await refresh(holder.client, holder.token)).refresh


@pytest.mark.parametrize(
    "spell",
    [
        lambda _: "",
        lambda _: "wwr_",
        lambda token: token + "=",
        lambda token: token + "A",
        lambda token: f" {token}",
        lambda token: f"{token}\n",
        lambda token: token[:-1],
        lambda token: token.removeprefix("wwr_"),
        lambda token: token.upper(),
        lambda token: f"Bearer {token}",
        lambda token: f"wwr_{token}",
        lambda token: token * 1_000,
        lambda _: "wwr_" + "A" * 75,
        lambda _: "\x00",
        lambda _: "wwr_" + "é" * 75,
    ],
    ids=[
        "nothing",
        "a prefix alone",
        "padded",
        "longer",
        "a blank before it",
        "a line end after it",
        "shorter",
        "without its prefix",
        "in capitals",
        "with a scheme",
        "with two prefixes",
        "a thousand times",
        "zeros",
        "a null character",
        "other letters",
    ],
)
async def test_another_spelling_of_a_token_is_no_token(house: House, ada: Person, spell: Callable[[str], str]) -> None:
    client = house.client()
    token = (await log_in(client, ada.email)).refresh
    assert await failure(client, spell(token)) == "REFRESH_TOKEN_INVALID"
    await refresh(client, token)


async def test_no_other_credential_is_taken_for_a_refresh_token_nor_one_for_another(house: House, ada: Person) -> None:
    client = house.client()
    pair = await log_in(client, ada.email)
    for other in (pair.access, ada.client.cookies["watchword-session"], ada.client.cookies["watchword-access"]):
        assert await failure(client, other) == "REFRESH_TOKEN_INVALID"
    assert (await call(client, pair.refresh)).reason == "TOKEN_INVALID"
    cookie = f"watchword-session={pair.refresh}"
    assert (await house.client().ask(WHO_AM_I, cookie=cookie)).reason == "SESSION_UNKNOWN"


async def test_a_token_of_another_installation_is_invalid(house: House, open_house: OpenHouse) -> None:
    elsewhere = await open_house("elsewhere")
    theirs = await log_in(elsewhere.client(), (await elsewhere.person("ada")).email)
    assert await failure(house.client(), theirs.refresh) == "REFRESH_TOKEN_INVALID"
    await refresh(elsewhere.client(), theirs.refresh)


async def test_a_token_of_another_installation_under_the_same_secret_key_names_no_session_here(
    open_house: OpenHouse,
) -> None:
    here, there = await open_house("here", secret_key=OLD), await open_house("there", secret_key=OLD)
    theirs = await log_in(there.client(), (await there.person("ada")).email)
    assert await failure(here.client(), theirs.refresh) == "SESSION_UNKNOWN"


async def test_one_document_refreshes_or_logs_in_once(house: House, ada: Person) -> None:
    client = house.client()
    pair = await log_in(client, ada.email)
    one = f'refresh(input: {{ refreshToken: "{pair.refresh}" }}) {{ __typename }}'
    login = f'login(input: {{ email: "{ada.email}", password: "{PASSWORD}" }}) {{ __typename }}'
    for document in (f"mutation {{ a: {one} b: {one} }}", f"mutation {{ {one} {login} }}"):
        answer = await client.ask(document)
        assert answer.code == "OPERATION_TOO_LARGE"
        assert "data" not in answer.body
    again = await refresh(client, pair.refresh)
    assert (await refresh(client, pair.refresh)).refresh == again.refresh  # it was the first of the two


# --- Restarts, faults and backups ------------------------------------------------------------------------------------


async def test_after_a_restart_the_session_goes_on_where_it_was(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    pairs = await lineage(house.client(), ada.email, 3)
    await house.close()
    house = await open_house()
    client = house.client()
    assert (await refresh(client, pairs[1].refresh)).refresh == pairs[2].refresh
    pair = await refresh(client, pairs[2].refresh)
    assert (await call(client, pair.access)).data["viewer"]["id"] == ada.id
    assert (await call(client, pairs[2].access)).data["viewer"]["id"] == ada.id
    await house.close()
    house = await open_house()
    assert await failure(house.client(), pairs[0].refresh) == "REFRESH_TOKEN_REUSED"


@pytest.mark.parametrize("fault", [locked, full])
async def test_what_could_not_be_committed_did_not_happen_and_the_same_token_works(
    open_house: OpenHouse, impatient: timedelta, fault: Callable[[House], AbstractContextManager[None]]
) -> None:
    house = await open_house(database_timeout=impatient)
    ada, client = await house.person("ada"), house.client()
    pairs = await lineage(client, ada.email, 3)
    with fault(house):
        for token in (pairs[2].refresh, pairs[0].refresh):  # the reuse is not recorded either
            answer = await ask_refresh(client, token)
            assert answer.code == "UNAVAILABLE"
            assert "wwr_" not in answer.response.text
        assert (await call(client, pairs[2].access)).data["viewer"]["id"] == ada.id
    assert (await refresh(client, pairs[1].refresh)).refresh == pairs[2].refresh  # nothing was counted
    fourth = await refresh(client, pairs[2].refresh)
    assert (await call(client, fourth.access)).data["viewer"]["id"] == ada.id
    actions = [event["action"] for event in (await ada.ask(EVENTS)).data["viewer"]["auditEvents"]["nodes"]]
    assert actions.count("SESSION_REFRESH") == 4  # the one that was asked for once more is there too
    assert "SESSION_REUSE" not in actions


async def test_the_secret_key_is_rotated_without_logging_anybody_out(tmp_path: Path) -> None:
    async with House(tmp_path / "own", secret_key=OLD) as house:
        ada = await house.person("ada")
        pairs = await lineage(house.client(), ada.email, 2)
    async with House(tmp_path / "own", secret_key=f"{NEW},{OLD}") as house:
        client = house.client()
        again = await refresh(client, pairs[0].refresh)  # its answer was lost in the change
        pairs.append(await refresh(client, pairs[1].refresh))
        assert again.refresh != pairs[1].refresh  # the same place in the lineage, under the new key
        assert (await refresh(client, again.refresh)).refresh == pairs[2].refresh
    async with House(tmp_path / "own", secret_key=NEW) as house:
        client = house.client()
        assert await failure(client, pairs[1].refresh) == "REFRESH_TOKEN_INVALID"
        pair = await refresh(client, pairs[2].refresh)
        assert (await call(client, pair.access)).data["viewer"]["id"] == ada.id


@asynccontextmanager
async def put_back(data_dir: Path, use: Callable[[House], Awaitable[None]]) -> AsyncIterator[House]:
    """Use an installation, put the database back to what it was before that, and open it again."""
    file, copy = data_dir / "watchword.sqlite", data_dir.with_suffix(".backup")
    with closing(sqlite3.connect(file)) as database, closing(sqlite3.connect(copy)) as backup:
        database.backup(backup)
    async with House(data_dir) as house:
        await use(house)
    with closing(sqlite3.connect(copy)) as backup, closing(sqlite3.connect(file)) as database:
        backup.backup(database)
    async with House(data_dir) as house:
        yield house


async def test_a_restored_backup_logs_nobody_honest_out(tmp_path: Path) -> None:
    async with House(tmp_path / "own") as house:
        ada = await house.person("ada")
        pairs = await lineage(house.client(), ada.email, 2)

    async def go_on(house: House) -> None:
        while len(pairs) < 6:
            pairs.append(await refresh(house.client(), pairs[-1].refresh))

    async with put_back(tmp_path / "own", go_on) as house:
        client = house.client()
        seventh = await refresh(client, pairs[5].refresh)  # the row knows of the second alone
        assert (await call(client, seventh.access)).data["viewer"]["id"] == ada.id
        assert (await refresh(client, pairs[5].refresh)).refresh == seventh.refresh
        await refresh(client, seventh.refresh)
        assert await failure(client, pairs[4].refresh) == "REFRESH_TOKEN_REUSED"


async def test_a_session_that_began_after_the_backup_is_unknown_once_it_is_restored(tmp_path: Path) -> None:
    async with House(tmp_path / "own") as house:
        ada = await house.person("ada")
    begun: list[Pair] = []

    async def begin(house: House) -> None:
        begun.append(await log_in(house.client(), ada.email))

    async with put_back(tmp_path / "own", begin) as house:
        assert await failure(house.client(), begun[0].refresh) == "SESSION_UNKNOWN"
        assert (await call(house.client(), begun[0].access)).reason == "SESSION_UNKNOWN"


# --- A real server ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Run two processes of one installation."""
    data_dir = tmp_path_factory.mktemp("served") / "data"
    with serving(data_dir) as first, serving(data_dir, public_url=first.url) as second:
        yield first, second


async def test_twelve_refreshes_at_once_on_two_processes_are_one_lineage_and_nobody_is_logged_out(
    servers: tuple[Server, Server],
) -> None:
    async with servers[0].client() as first, servers[1].client() as second:
        account = {"email": "ada@example.org", "password": PASSWORD, "displayName": "Ada"}
        await first.ask(SIGN_UP, {"input": account})
        given = [await log_in(first, account["email"])]
        for _ in range(20):
            token = given[-1].refresh
            pairs = await asyncio.gather(*(refresh(client, token) for _ in range(6) for client in (first, second)))
            assert len({pair.refresh for pair in pairs}) == 1
            assert len({pair.access for pair in pairs}) == 12
            given.append(pairs[0])
        assert len({pair.refresh for pair in given}) == 21
        answers = [await call(client, pair.access) for pair in pairs for client in (first, second)]
        assert len({answer.data["viewer"]["session"]["id"] for answer in answers}) == 1

        assert await failure(second, given[-3].refresh) == "REFRESH_TOKEN_REUSED"
        assert await failure(first, given[-1].refresh) == "SESSION_REVOKED"
        assert [(await call(client, pairs[0].access)).reason for client in (first, second)] == ["SESSION_REVOKED"] * 2
