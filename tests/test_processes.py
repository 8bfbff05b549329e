"""Two processes on one database are one application: whatever is done through one holds in the other at once.

They are real servers. On PostgreSQL they share nothing but the database and the secret key, as on two machines.
"""

import asyncio
import base64
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
import orjson
import pytest

from auth import Auth
from auth.throttles import EVERYBODY
from installation import assemble
from settings import load_settings
from tests.documents import CREATE, CREATE_API_TOKEN, CREATE_SECRET, DISABLE, SERVICE
from tests.house import LOG_IN, LOG_OUT, PASSWORD, SIGN_UP, WHO_AM_I, Answer, Client
from tests.postgres import run
from tests.running import Server, free_port, serving

ON_BOTH_ENGINES = True

PATIENCE = 10.0
IN_TIME = 5.0  # many times what is promised: the machine may be busy

GRACE = "grace@example.org"

FOLLOW = "subscription { viewerEvents { action } }"
USERS = "{ users(first: 1) { nodes { id } } }"
FIRST_ADMINISTRATOR = """
mutation($input: CreateFirstAdministratorInput!) { createFirstAdministrator(input: $input) { __typename } }
"""
REVOKE_SESSION = "mutation($input: RevokeSessionInput!) { revokeSession(input: $input) { session { id } } }"
REVOKE_API_TOKEN = "mutation($input: RevokeApiTokenInput!) { revokeApiToken(input: $input) { apiToken { id } } }"
MY_API_TOKENS = "{ viewer { apiTokens { nodes { id } } } }"
DISABLE_USER = "mutation($input: DisableUserInput!) { disableUser(input: $input) { user { id } } }"
SET_ROLES = "mutation($input: SetUserRolesInput!) { setUserRoles(input: $input) { user { roles } } }"
CHANGE_PASSWORD = "mutation($input: ChangePasswordInput!) { changePassword(input: $input) { __typename } }"
REFRESH = """
mutation($input: RefreshInput!) {
  refresh(input: $input) { __typename ... on RefreshSucceeded { accessToken refreshToken } }
}
"""
LOG_IN_BY_BODY = """
mutation($input: LoginInput!) { login(input: $input) { ... on LoginSucceeded { accessToken refreshToken } } }
"""


@dataclass(frozen=True)
class Processes:
    """Two servers, and the settings that they have in common."""

    one: Server
    other: Server
    settings: dict[str, str]
    administrator: Answer  # what came of making the first one

    def execute(self, sql: str) -> None:
        """Change what is in the database behind the back of both."""
        if uri := self.settings.get("database_url"):
            run(uri, sql)
            return
        with closing(sqlite3.connect(self.one.database_file, isolation_level=None)) as database:
            database.execute(sql)

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[Auth]:
        """Do as the operator's commands do: as a third process."""
        settings = load_settings(data_dir=self.one.data_dir, **self.settings)
        async with assemble(settings).open_auth(to_look=True) as auth:
            yield auth


@pytest.fixture(scope="module")
def processes(
    engine_name: str, tmp_path_factory: pytest.TempPathFactory, database_for: Callable[[str], dict[str, str]]
) -> Iterator[Processes]:
    folder, port = tmp_path_factory.mktemp("processes"), free_port()
    on_engine = database_for(engine_name)
    settings = {"secret_key": "k" * 40, "public_url": f"http://127.0.0.1:{port}", **on_engine}
    elsewhere: Path = folder / ("elsewhere" if on_engine else "data")
    with serving(folder / "data", port=port, **settings) as one, serving(elsewhere, **settings) as other:
        # Each that starts replaces the token: the one that is good was printed by the other.
        typed = {"setupToken": other.setup_token, "email": GRACE, "password": PASSWORD, "displayName": "Grace"}
        body = {"query": FIRST_ADMINISTRATOR, "variables": {"input": typed}}
        made = Answer(httpx2.post(f"{one.url}/graphql", json=body, timeout=30))
        yield Processes(one, other, settings, made)


@dataclass(frozen=True)
class Visitor:
    """Somebody with one browser, whose requests come to either process."""

    email: str
    user_id: str
    at_one: Client
    at_other: Client

    async def viewer_id(self) -> str:
        answers = [await client.ask(WHO_AM_I) for client in (self.at_one, self.at_other)]
        (seen,) = {answer.data["viewer"]["id"] for answer in answers}
        return str(seen)

    async def credentials(self, **typed: str) -> dict[str, str]:
        """Log in once more, as a program does."""
        given = {"input": {"email": self.email, "password": PASSWORD, "delivery": "BODY", **typed}}
        pair: dict[str, str] = (await self.at_one.ask(LOG_IN_BY_BODY, given)).data["login"]
        return pair


@asynccontextmanager
async def visiting(processes: Processes, email: str, password: str = PASSWORD) -> AsyncIterator[Visitor]:
    """Log in through one process, and go on at both with the same cookies."""
    async with processes.one.client() as at_one, processes.other.client() as at_other:
        logged_in = (await at_one.log_in(email, password)).data["login"]
        at_other.cookies.update(dict(at_one.cookies))
        yield Visitor(email, logged_in["viewer"]["user"]["id"], at_one, at_other)


async def join(client: Client, email: str) -> None:
    account = {"email": email, "password": PASSWORD, "displayName": "Ada"}
    assert (await client.ask(SIGN_UP, {"input": account})).data["signUp"]["__typename"] == "SignUpSucceeded"


@pytest.fixture
async def ada(processes: Processes, request: pytest.FixtureRequest) -> AsyncIterator[Visitor]:
    email = f"{abs(hash(request.node.name))}@example.org"
    async with processes.one.client() as nobody:
        await join(nobody, email)
    async with visiting(processes, email) as visitor:
        yield visitor


@pytest.fixture
async def grace(processes: Processes) -> AsyncIterator[Visitor]:
    async with visiting(processes, GRACE) as visitor:
        yield visitor


async def with_token(server: Server, token: str, query: str = WHO_AM_I) -> Answer:
    async with server.client() as program:
        return await program.ask(query, authorization=f"Bearer {token}")


async def test_the_setup_token_that_one_printed_makes_the_first_administrator_through_the_other(
    processes: Processes, grace: Visitor
) -> None:
    assert processes.administrator.data["createFirstAdministrator"]["__typename"] == "CreateFirstAdministratorSucceeded"
    for client in (grace.at_one, grace.at_other):
        assert (await client.ask(WHO_AM_I)).data["viewer"]["user"]["roles"] == ["USER", "ADMIN"]


# What is taken away by one is refused by the other


async def test_who_signed_up_at_one_logs_in_at_the_other_at_once(processes: Processes) -> None:
    async with processes.one.client() as at_one, processes.other.client() as at_other:
        for number in range(5):
            await join(at_one, f"new.{number}@example.org")
            answer = await at_other.log_in(f"new.{number}@example.org")
            assert answer.data["login"]["__typename"] == "LoginSucceeded"


async def test_of_two_who_sign_up_at_both_with_one_address_at_once_one_gets_it(processes: Processes) -> None:
    async with processes.one.client() as at_one, processes.other.client() as at_other:
        for number in range(5):
            email, asked = f"both.{number}@example.org", {f"{PASSWORD} {who}": who for who in (at_one, at_other)}
            await asyncio.gather(
                *(
                    client.ask(SIGN_UP, {"input": {"email": email, "password": typed, "displayName": "Eve"}})
                    for typed, client in asked.items()
                )
            )
            logins = [(await at_one.log_in(email, typed)).data["login"]["__typename"] for typed in asked]
            assert sorted(logins) == ["LoginFailed", "LoginSucceeded"]


async def test_a_session_that_was_ended_at_one_is_refused_by_the_other_on_the_next_request(ada: Visitor) -> None:
    assert await ada.viewer_id()
    await ada.at_one.post("/graphql", json={"query": LOG_OUT})
    assert (await ada.at_other.ask(WHO_AM_I)).reason == "SESSION_REVOKED"


async def test_a_session_that_was_revoked_at_one_is_refused_by_the_other_on_the_next_request(
    processes: Processes, ada: Visitor
) -> None:
    async with visiting(processes, ada.email) as thief:
        session = (await thief.at_other.ask(WHO_AM_I)).data["viewer"]["session"]["id"]
        await ada.at_one.ask(REVOKE_SESSION, {"input": {"id": session}})
        assert (await thief.at_other.ask(WHO_AM_I)).reason == "SESSION_REVOKED"
    assert await ada.viewer_id()


async def test_who_was_disabled_at_one_is_refused_by_the_other_on_the_next_request(
    ada: Visitor, grace: Visitor
) -> None:
    assert await ada.viewer_id()
    await grace.at_one.ask(DISABLE_USER, {"input": {"id": ada.user_id}})
    assert (await ada.at_other.ask(WHO_AM_I)).reason == "SESSION_REVOKED"


async def test_a_role_that_was_given_and_taken_at_one_holds_at_the_other_on_the_next_request(
    ada: Visitor, grace: Visitor
) -> None:
    for roles, may in (["USER"], False), (["USER", "ADMIN"], True), (["USER"], False):
        given = await grace.at_one.ask(SET_ROLES, {"input": {"id": ada.user_id, "roles": roles}})
        assert given.data["setUserRoles"]["user"]["roles"] == roles
        answer = await ada.at_other.ask(USERS)
        assert ("errors" not in answer.body) == may
        assert may or answer.code == "FORBIDDEN"


async def test_a_password_that_was_changed_at_one_ends_the_other_sessions_at_the_other(
    processes: Processes, ada: Visitor
) -> None:
    async with visiting(processes, ada.email) as thief:
        assert await thief.viewer_id()
        new = "a windmill turns all night"
        changed = await ada.at_one.ask(CHANGE_PASSWORD, {"input": {"currentPassword": PASSWORD, "newPassword": new}})
        assert changed.data["changePassword"]["__typename"] == "ChangePasswordSucceeded"
        assert (await thief.at_other.ask(WHO_AM_I)).reason == "SESSION_REVOKED"
        assert (await thief.at_other.log_in(ada.email)).data["login"]["code"] == "INVALID_CREDENTIALS"
        assert (await thief.at_other.log_in(ada.email, new)).data["login"]["__typename"] == "LoginSucceeded"


async def test_an_api_token_that_was_revoked_at_one_is_refused_by_the_other_on_the_next_request(
    processes: Processes, ada: Visitor
) -> None:
    made = await ada.at_one.ask(CREATE_API_TOKEN, {"input": {"name": "script", "scopes": ["profile:read"]}})
    token = made.data["createApiToken"]["token"]
    assert (await with_token(processes.other, token, SERVICE)).data["viewer"]["kind"] == "USER"
    (row,) = (await ada.at_one.ask(MY_API_TOKENS)).data["viewer"]["apiTokens"]["nodes"]
    assert (await ada.at_one.ask(REVOKE_API_TOKEN, {"input": {"id": row["id"]}})).data
    assert (await with_token(processes.other, token, SERVICE)).code == "UNAUTHENTICATED"


async def test_a_service_account_that_was_disabled_at_one_is_refused_by_the_other_on_the_next_request(
    processes: Processes, ada: Visitor
) -> None:
    account = (await ada.at_one.ask(CREATE, {"input": {"name": "robot", "scopes": ["profile:read"]}})).data[
        "createServiceAccount"
    ]["serviceAccount"]
    made = await ada.at_other.ask(CREATE_SECRET, {"input": {"id": account["id"]}})
    secret = made.data["createServiceAccountSecret"]["secret"]
    form = {"grant_type": "client_credentials", "client_id": account["clientId"], "client_secret": secret}
    token = (await ada.at_one.post("/oauth/token", data=form)).json()["access_token"]
    assert (await with_token(processes.other, token, SERVICE)).data["viewer"]["kind"] == "SERVICE"
    assert (await ada.at_one.ask(DISABLE, {"input": {"id": account["id"]}})).data
    assert (await with_token(processes.other, token, SERVICE)).code == "UNAUTHENTICATED"
    assert (await ada.at_other.post("/oauth/token", data=form)).status_code == 401


async def test_a_refresh_token_that_is_used_at_both_at_once_gives_both_the_same_pair_and_ends_nothing(
    processes: Processes, ada: Visitor
) -> None:
    refresh_token = (await ada.credentials())["refreshToken"]
    async with processes.one.client() as at_one, processes.other.client() as at_other:
        for _ in range(5):
            asked = [client.ask(REFRESH, {"input": {"refreshToken": refresh_token}}) for client in (at_one, at_other)]
            given = [answer.data["refresh"] for answer in await asyncio.gather(*asked)]
            assert {pair["__typename"] for pair in given} == {"RefreshSucceeded"}
            (refresh_token,) = {pair["refreshToken"] for pair in given}
            for client in (at_one, at_other):
                for pair in given:
                    assert (await client.ask(SERVICE, authorization=f"Bearer {pair['accessToken']}")).data["viewer"]


# What happens at one is heard at the other


class Stream:
    """What a process tells by server-sent events."""

    def __init__(self, response: httpx2.Response) -> None:
        self._lines = response.aiter_lines()

    async def answer(self) -> dict[str, Any] | None:
        """Return what comes next, None at the end."""
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                if line.startswith("data: {"):
                    answer: dict[str, Any] = orjson.loads(line.removeprefix("data: "))
                    return answer
        return None

    async def action(self) -> str:
        answer = await self.answer()
        assert answer is not None
        return str(answer["data"]["viewerEvents"]["action"])


@asynccontextmanager
async def following(client: Client, act: Callable[[], Awaitable[Any]]) -> AsyncIterator[Stream]:
    """Follow somebody's own events; go on once what `act` does has been heard."""
    headers = {"accept": "text/event-stream"}
    async with client.stream("POST", "/graphql", json={"query": FOLLOW}, headers=headers) as response:
        stream = Stream(response)
        heard = asyncio.create_task(stream.action())
        acts = 0
        while not heard.done():  # nothing says when a subscription has begun
            await act()
            acts += 1
            await asyncio.wait([heard], timeout=0.2)
        assert await heard == "SESSION_START"
        # What was done twice, since it had not begun in time, is heard twice, or it had begun in between.
        for _ in range(acts - 1):
            await asyncio.wait_for(stream.action(), PATIENCE)
        yield stream


async def log_in(client: Client, email: str) -> None:
    by_body = {"input": {"email": email, "password": PASSWORD, "delivery": "BODY"}}
    assert (await client.ask(LOG_IN, by_body)).data["login"]["__typename"] == "LoginSucceeded"


async def latency(stream: Stream, client: Client, email: str) -> float:
    """Return after how many milliseconds what one process has answered is told by the other."""
    heard = asyncio.create_task(stream.action())
    await log_in(client, email)
    answered = time.monotonic()
    assert await heard == "SESSION_START"
    return 1_000 * (time.monotonic() - answered)


async def test_what_is_done_at_one_is_told_to_who_follows_at_the_other(ada: Visitor, engine_name: str) -> None:
    for here, there in ((ada.at_one, ada.at_other), (ada.at_other, ada.at_one)):
        async with following(here, partial(log_in, there, ada.email)) as stream:
            took = [await latency(stream, there, ada.email) for _ in range(10)]
            print(f"{engine_name}: {median(took):.1f} ms, at most {max(took):.1f} ms")  # noqa: T201
            assert median(took) < 1_000


async def test_while_the_connection_that_listens_is_cut_events_arrive_later_and_none_is_lost(
    processes: Processes, ada: Visitor, engine_name: str
) -> None:
    if engine_name != "postgresql":
        return
    uri = processes.settings["database_url"]
    listening = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    async with following(ada.at_one, partial(log_in, ada.at_other, ada.email)) as stream:
        for _ in range(3):
            cut = run(uri, f"SELECT pg_terminate_backend(pid) {listening}")
            took = await latency(stream, ada.at_other, ada.email)
            print(f"after {len(cut)} connections were cut: {took:.1f} ms")  # noqa: T201
            assert took < 1_000 * IN_TIME


async def test_a_subscription_at_one_ends_when_its_session_is_ended_at_the_other(ada: Visitor) -> None:
    async with following(ada.at_one, partial(log_in, ada.at_other, ada.email)) as stream:
        await ada.at_other.ask(LOG_OUT)
        async with asyncio.timeout(IN_TIME):
            while (answer := await stream.answer()) is not None and "errors" not in answer:
                pass
        assert answer is not None
        assert answer["errors"][0]["extensions"]["reason"] == "SESSION_REVOKED"


# What is counted is counted by both together


async def test_guesses_at_an_account_are_counted_by_both_together(processes: Processes) -> None:
    async with processes.one.client() as at_one, processes.other.client() as at_other:

        async def looked_at(email: str, *clients: Client) -> int:
            """Guess until it is refused, at one client after the other."""
            for number, client in enumerate(cycle(clients)):
                failed = (await client.log_in(email, "not the password at all")).data["login"]
                if failed["code"] == "RATE_LIMITED":
                    return number
                assert failed["code"] == "INVALID_CREDENTIALS"
            raise AssertionError

        await join(at_one, "guessed@example.org")
        await join(at_one, "guessed.too@example.org")
        by_one = await looked_at("guessed@example.org", at_one)
        assert EVERYBODY.burst <= by_one <= EVERYBODY.burst + 2
        assert await looked_at("guessed.too@example.org", at_one, at_other) == by_one
        assert (await at_other.log_in("guessed@example.org")).data["login"]["code"] == "RATE_LIMITED"


async def test_who_asks_for_much_at_both_has_one_budget(ada: Visitor) -> None:
    fields = " ".join(f"a{number}: id" for number in range(24))
    dear = f"{{ viewer {{ sessions(first: 100) {{ nodes {{ {fields} }} }} }} }}"  # some 2,500 points
    statuses: list[int] = []
    for client in cycle((ada.at_one, ada.at_other)):
        statuses.append((await client.ask(dear)).response.status_code)
        if statuses[-2:] == [429, 429]:
            break
    assert 39 <= statuses.count(200) < 60  # each on its own would let forty through


# A rotation at one is followed by both


def key_of(token: str) -> str:
    """Return the `kid` of a token."""
    head = token.partition(".")[0]
    return str(orjson.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])


async def signed_by(ada: Visitor) -> list[str]:
    """Return which key each process signs with."""
    given = {"input": {"email": ada.email, "password": PASSWORD, "delivery": "BODY"}}
    answers = [await client.ask(LOG_IN_BY_BODY, given) for client in (ada.at_one, ada.at_other)]
    return [key_of(answer.data["login"]["accessToken"]) for answer in answers]


async def published_by(ada: Visitor) -> list[set[str]]:
    sets = [(await client.get("/.well-known/jwks.json")).json()["keys"] for client in (ada.at_one, ada.at_other)]
    return [{key["kid"] for key in keys} for keys in sets]


async def test_a_rotation_is_followed_by_both_and_a_revoked_key_is_refused_by_both(
    processes: Processes, ada: Visitor
) -> None:
    token = (await ada.credentials())["accessToken"]
    old, servers = key_of(token), (processes.one, processes.other)
    assert await signed_by(ada) == [old, old]
    async with processes.operator() as auth:
        new = (await auth.key_ring.rotate(at_once=True)).kid
    assert new != old
    assert await signed_by(ada) == [new, new]
    for published in await published_by(ada):
        assert {old, new} < published
    for server in servers:
        assert (await with_token(server, token)).data["viewer"]
    async with processes.operator() as auth:
        await auth.key_ring.revoke(old)
    for server in servers:
        assert (await with_token(server, token)).reason == "TOKEN_REVOKED"
    for published in await published_by(ada):
        assert new in published
        assert old not in published
    assert await ada.viewer_id()  # whose browser was given new tokens


async def test_a_rotation_that_one_makes_because_it_is_due_is_followed_by_the_other(
    processes: Processes, ada: Visitor
) -> None:
    old, _ = await signed_by(ada)
    processes.execute("UPDATE signing_keys SET signs_from = signs_from - 40000000, created_at = created_at - 40000000")
    first, second = await signed_by(ada)
    assert first == second != old
    for published in await published_by(ada):
        assert {old, first} < published
