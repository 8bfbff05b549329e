"""Sockets: who may open one, what is said on it, and how it ends: graphql-transport-ws to the letter."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

import web.socket_conversation
import web.socket_wire
from tests.documents import CREATE, CREATE_API_TOKEN, CREATE_SECRET
from tests.documents import DISABLE as DISABLE_SERVICE
from tests.house import LOG_IN, LOG_OUT, ORIGIN, PASSWORD, PRODUCTION_HASHING, Answer, House, OpenHouse, Person
from tests.notices import NOTICES, board_of
from tests.sockets import PROTOCOL, Refused, Socket, connecting, conversing
from tests.streams import until
from web.request_body import LARGEST_BODY
from web.socket_operations import MOST_AT_ONCE

FOLLOW = "subscription { notices }"
FOLLOW_AS_ANYBODY = "subscription { announcements }"
FOLLOW_AS_ADMINISTRATOR = "subscription { minutes }"
WHO = "{ viewer { kind user { email } } }"
NAME = "{ __typename }"

CHANGE_PASSWORD = "mutation($input: ChangePasswordInput!) { changePassword(input: $input) { __typename } }"
DISABLE = "mutation($input: DisableUserInput!) { disableUser(input: $input) { user { id } } }"
SET_ROLES = "mutation($input: SetUserRolesInput!) { setUserRoles(input: $input) { user { id } } }"
REVOKE_OTHERS = "mutation { revokeOtherSessions { endedSessions } }"
REVOKE_API_TOKEN = "mutation($input: RevokeApiTokenInput!) { revokeApiToken(input: $input) { __typename } }"

# Within which a socket has to end with its session.
IN_TIME = 5.0


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Give these tests a house with something to follow."""
    async with House(tmp_path_factory.mktemp("house"), domains=[NOTICES]) as opened:
        yield opened


async def bearer(person: Person, house: House) -> str:
    """Return the access token of another session of somebody's."""
    answer = await house.client().log_in(person.email, delivery="BODY")
    return str(answer.data["login"]["accessToken"])


async def follow(house: House, socket: Socket, query: str = FOLLOW, name: str = "1") -> None:
    """Subscribe, and go on once it is followed."""
    listening = board_of(house).listeners + 1
    socket.subscribe(query, name)
    await until(lambda: board_of(house).listeners >= listening)


# How it is opened


@pytest.mark.parametrize("offered", [[PROTOCOL], ["graphql-ws", PROTOCOL], [PROTOCOL, "something-else"]])
async def test_the_one_protocol_is_chosen_wherever_it_is_offered(house: House, offered: Sequence[str]) -> None:
    async with connecting(house, protocols=offered) as socket:
        assert (await socket.accepted())["subprotocol"] == PROTOCOL


@pytest.mark.parametrize("offered", [[], ["graphql-ws"], ["GRAPHQL-TRANSPORT-WS"], ["graphql-transport-ws2"], [""]])
async def test_no_other_protocol_is_spoken_and_the_legacy_one_never(house: House, offered: Sequence[str]) -> None:
    async with connecting(house, protocols=offered) as socket:
        with pytest.raises(Refused) as refused:
            await socket.accepted()
    assert (refused.value.status, refused.value.extensions["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ORIGIN.replace("http:", "https:")},
        {"origin": ORIGIN + ".evil.example"},
        {"origin": "http://127.0.0.1:8001"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_foreign_page_opens_no_socket_with_the_cookies_of_its_visitor(
    house: House, ada: Person, headers: dict[str, str]
) -> None:
    async with connecting(house, ada.client, headers=headers) as socket:
        with pytest.raises(Refused) as refused:
            await socket.accepted()
        assert (refused.value.status, refused.value.extensions["code"]) == (403, "CSRF_REFUSED")
        assert socket.has_nothing_to_say


async def test_a_page_of_plain_http_opens_no_socket_of_an_https_site(open_house: OpenHouse) -> None:
    house = await open_house(public_url="https://id.example.org", secret_key="k" * 40, **PRODUCTION_HASHING)
    async with connecting(house, headers={"origin": "http://id.example.org"}) as socket:
        with pytest.raises(Refused) as refused:
            await socket.accepted()
    assert refused.value.extensions["code"] == "CSRF_REFUSED"
    async with conversing(house, headers={"origin": "https://id.example.org"}) as socket:
        assert (await socket.ask(NAME))["data"]


async def test_pages_that_the_operator_names_and_programs_open_sockets(open_house: OpenHouse) -> None:
    house = await open_house(allowed_origins=["https://app.example.org"])
    pages: list[dict[str, str]] = [{"origin": "https://app.example.org"}, {"origin": ORIGIN}, {}]
    for headers in pages:
        async with conversing(house, headers=headers) as socket:
            assert (await socket.ask(NAME))["data"] == {"__typename": "Query"}


async def test_a_server_that_can_only_close_closes(house: House) -> None:
    async with connecting(house, protocols=["graphql-ws"], can_refuse=False) as socket:
        with pytest.raises(Refused):
            await socket.accepted()


async def test_where_there_is_no_socket_a_server_that_can_only_close_does_and_the_log_says_why(house: House) -> None:
    with capture_logs() as logs:
        async with connecting(house, path="/nothing", can_refuse=False) as socket:
            with pytest.raises(Refused):
                await socket.accepted()
    (line,) = [line for line in logs if line["event"] == "socket"]
    assert (line["status"], line["code"]) == (403, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/", "/graphql/", "/healthz", "/oauth/token", "/nothing"])
async def test_there_is_no_socket_at_any_other_path(house: House, path: str) -> None:
    with capture_logs() as logs:
        async with connecting(house, path=path) as socket:
            with pytest.raises(Refused) as refused:
                await socket.accepted()
    assert (refused.value.status, refused.value.extensions["code"]) == (404, "NOT_FOUND")
    (line,) = [line for line in logs if line["event"] == "socket"]
    assert (line["status"], line["code"]) == (404, "NOT_FOUND")
    assert line["request_id"] == refused.value.extensions["requestId"]


# Who calls


async def test_without_a_credential_it_is_nobody(house: House) -> None:
    async with conversing(house) as socket:
        assert (await socket.ask(WHO))["errors"][0]["extensions"]["reason"] == "NOT_AUTHENTICATED"


async def test_cookies_count(house: House, ada: Person) -> None:
    async with conversing(house, ada.client) as socket:
        assert (await socket.ask(WHO))["data"]["viewer"]["user"]["email"] == ada.email


async def test_the_header_of_the_handshake_counts(house: House, ada: Person) -> None:
    async with conversing(house, headers={"authorization": f"Bearer {await bearer(ada, house)}"}) as socket:
        assert (await socket.ask(WHO))["data"]["viewer"]["user"]["email"] == ada.email


@pytest.mark.parametrize("name", ["authorization", "Authorization", "AUTHORIZATION"])
async def test_a_token_in_connection_init_counts_and_before_the_cookies(
    house: House, ada: Person, grace: Person, name: str
) -> None:
    async with connecting(house, grace.client) as socket:
        await socket.accepted()
        token = await bearer(ada, house)
        assert await socket.begin(**{name: f"Bearer {token}", "unknown": 1}) == {"type": "connection_ack"}
        assert (await socket.ask(WHO))["data"]["viewer"]["user"]["email"] == ada.email


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"authorization": ""}, "CREDENTIAL_MALFORMED"),
        ({"authorization": "Bearer"}, "CREDENTIAL_MALFORMED"),
        ({"authorization": "Basic YTpi"}, "CREDENTIAL_MALFORMED"),
        ({"authorization": "Bearer x", "Authorization": "Bearer x"}, "CREDENTIAL_MALFORMED"),
        ({"authorization": 5}, "CREDENTIAL_MALFORMED"),
        ({"authorization": ["Bearer x"]}, "CREDENTIAL_MALFORMED"),
        ({"authorization": {"Bearer": "x"}}, "CREDENTIAL_MALFORMED"),
        ({"authorization": "Bearer x"}, "TOKEN_INVALID"),
        ({"authorization": "Bearer ünïcödé \N{ELECTRIC LIGHT BULB}"}, "TOKEN_INVALID"),
    ],
)
async def test_a_bad_credential_closes_the_socket_and_never_becomes_nobody(
    house: House, ada: Person, parameters: dict[str, Any], reason: str
) -> None:
    async with connecting(house, ada.client) as socket:
        await socket.accepted()
        socket.say(type="connection_init", payload=parameters)
        assert await socket.closed() == (4401, reason)


async def test_cookies_of_a_session_that_has_ended_close_the_socket(house: House, ada: Person) -> None:
    kept = dict(ada.client.cookies)
    await ada.ask(LOG_OUT)
    ada.client.cookies.update(kept)
    async with connecting(house, ada.client) as socket:
        await socket.accepted()
        socket.say(type="connection_init")
        assert await socket.closed() == (4401, "SESSION_REVOKED")


async def test_an_expired_token_closes_with_the_code_after_which_clients_ask_for_another(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    ada = await house.person("ada")
    token = await bearer(ada, house)
    house.clock.move(timedelta(minutes=16))
    async with connecting(house) as socket:
        await socket.accepted()
        socket.say(type="connection_init", payload={"authorization": f"Bearer {token}"})
        assert await socket.closed() == (4403, "TOKEN_EXPIRED")
    async with conversing(house, ada.client) as socket:  # whose session's secret came along
        assert (await socket.ask(WHO))["data"]["viewer"]["kind"] == "USER"


async def test_while_the_database_is_gone_a_client_is_told_to_try_again(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    await house.auth.database.close()
    async with connecting(house, ada.client) as socket:
        await socket.accepted()
        socket.say(type="connection_init")
        assert (await socket.closed())[0] == 1013


async def test_nothing_is_run_before_connection_init(house: House, ada: Person) -> None:
    async with connecting(house, ada.client) as socket:
        await socket.accepted()
        socket.subscribe(WHO)
        assert (await socket.closed())[0] == 4401


async def test_connection_init_has_a_deadline_that_pings_do_not_move(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.socket_conversation, "_INIT_SECONDS", 0.05)
    async with connecting(house) as socket:
        await socket.accepted()
        socket.say(type="ping")
        assert await socket.hear() == {"type": "pong"}
        assert (await socket.closed())[0] == 4408


async def test_connection_init_comes_once(house: House) -> None:
    async with conversing(house) as socket:
        socket.say(type="connection_init")
        assert (await socket.closed())[0] == 4429


# What is said


NO_MESSAGES = [
    "",
    "{",
    "1",
    "null",
    "[]",
    '[{"type":"ping"}]',
    "{}",
    '{"type":5}',
    '{"type":null}',
    '{"type":"Ping"}',
    '{"type":"start","id":"1","payload":{"query":"{ __typename }"}}',
    '{"type":"connection_ack"}',
    '{"type":"next","id":"1","payload":{}}',
    '{"type":"error","id":"1","payload":[]}',
    '{"type":"ping","payload":[]}',
    '{"type":"pong","payload":"x"}',
    '{"type":"complete"}',
    '{"type":"complete","id":1}',
    '{"type":"subscribe","payload":{"query":"{ __typename }"}}',
    '{"type":"subscribe","id":"","payload":{"query":"{ __typename }"}}',
    '{"type":"subscribe","id":7,"payload":{"query":"{ __typename }"}}',
    '{"type":"subscribe","id":"%s","payload":{"query":"{ __typename }"}}' % ("x" * 129),
    '{"type":"subscribe","id":"1"}',
    '{"type":"subscribe","id":"1","payload":null}',
    '{"type":"subscribe","id":"1","payload":[]}',
    '{"type":"subscribe","id":"1","payload":{}}',
    '{"type":"subscribe","id":"1","payload":{"query":null}}',
    '{"type":"subscribe","id":"1","payload":{"query":5}}',
    '{"type":"subscribe","id":"1","payload":{"query":"{ __typename }","variables":[]}}',
    '{"type":"subscribe","id":"1","payload":{"query":"{ __typename }","operationName":1}}',
    '{"type":"subscribe","id":"1","payload":{"query":"{ __typename }","extensions":"x"}}',
    '{"type":"ping","type":"pong"}',
    '{"type":"ping","payload":{"x":1e999}}',
    '{"type":"ping","payload":{"x":NaN}}',
    '{"type":"ping","payload":{"x":"\\ud800"}}',
    '{"type":"ping","payload":{"x":"\ud800"}}',
    '{"type":"ping","payload":{"x":%s}}' % ("9" * 5_000),
    '{"type":"ping","payload":{"x":%s}}' % ("[" * 100 + "]" * 100),
    "[" * 100_000,
    '{"type":"ping","payload":{"x":"%s"}}' % ("x" * 200_000),
    '{"type":"ping","payload":{"x":"%s"}}' % ("ü" * (LARGEST_BODY // 2)),
]


@pytest.mark.parametrize("text", NO_MESSAGES, ids=range(len(NO_MESSAGES)))
async def test_what_is_no_message_closes_the_socket(house: House, text: str) -> None:
    async with conversing(house) as socket:
        socket.say_text(text)
        assert (await socket.closed())[0] == 4400
    async with connecting(house) as socket:
        await socket.accepted()
        socket.say_text(text)
        assert (await socket.closed())[0] in {4400, 4401}


async def test_a_binary_message_closes_the_socket(house: House) -> None:
    async with conversing(house) as socket:
        socket.say_bytes(b'{"type":"ping"}')
        assert (await socket.closed())[0] == 4400


async def test_members_that_the_protocol_does_not_know_are_left_alone(house: House) -> None:
    async with conversing(house) as socket:
        socket.say(type="subscribe", id="1", payload={"query": NAME, "x": 1, "variables": None}, x={"y": []})
        assert (await socket.hear())["payload"] == {"data": {"__typename": "Query"}}
        assert (await socket.hear())["type"] == "complete"
        socket.say(type="ping", id=7, payload=None)
        assert await socket.hear() == {"type": "pong"}


async def test_a_ping_is_answered_with_what_it_brought_and_a_pong_with_nothing(house: House) -> None:
    async with conversing(house) as socket:
        socket.say(type="pong", payload={"unasked": True})
        socket.say(type="complete", id="of nothing")
        socket.say(type="ping", payload={"at": 1})
        assert await socket.hear() == {"type": "pong", "payload": {"at": 1}}


# What is asked


async def test_queries_and_mutations_have_one_answer_and_are_complete(house: House, ada: Person) -> None:
    async with conversing(house, ada.client) as socket:
        assert (await socket.ask(WHO))["data"]["viewer"]["user"]["email"] == ada.email
        await house.client().log_in(ada.email)
        ended = await socket.ask(REVOKE_OTHERS)
        assert ended["data"]["revokeOtherSessions"]["endedSessions"] == 1
        variables = {"input": {"email": ada.email, "password": "not hers", "delivery": "BODY"}}
        answer = await socket.ask(LOG_IN, "x", variables=variables, operationName="LogIn")
        assert answer["data"]["login"]["code"] == "INVALID_CREDENTIALS"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "BAD_REQUEST"),
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { notices announcements }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ " + "__typename " * 3_000 + "}", "OPERATION_TOO_LARGE"),
        ("query ($x: Int!) { users(first: $x) { nodes { id } } }", "BAD_USER_INPUT"),
    ],
)
async def test_what_is_not_executed_is_one_error_and_nothing_after_it(house: House, query: str, code: str) -> None:
    async with conversing(house) as socket:
        socket.subscribe(query)
        assert (await socket.refusal())["code"] == code
        assert (await socket.ask(NAME))["data"]  # under the same id


async def test_a_document_is_known_by_its_hash_as_it_is_over_http(house: House) -> None:
    query = "query OverASocket { __typename }"
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(query.encode()).hexdigest()}}
    async with conversing(house) as socket:
        socket.say(type="subscribe", id="1", payload={"extensions": persisted})
        assert (await socket.refusal())["code"] == "PERSISTED_QUERY_NOT_FOUND"
        assert (await socket.ask(query, extensions=persisted))["data"]
        socket.say(type="subscribe", id="1", payload={"extensions": persisted})
        assert (await socket.hear())["payload"] == {"data": {"__typename": "Query"}}


async def test_what_is_asked_over_a_socket_is_paid_for(open_house: OpenHouse) -> None:
    house = await open_house(budget=1_000)
    ada = await house.person("ada")
    async with conversing(house, ada.client) as socket:
        heard: list[dict[str, Any]] = []
        while not heard or heard[-1]["type"] != "error":
            socket.subscribe("{ viewer { sessions(first: 20) { nodes { id } } } }")
            heard.append(await socket.hear())
            if heard[-1]["type"] == "next":
                heard.append(await socket.hear())
        assert heard[0]["type"] == "next"
        extensions = heard[-1]["payload"][0]["extensions"]
        assert extensions["code"] == "RATE_LIMITED"
        assert extensions["retryAfter"] > 0
        socket.say(type="ping")
        assert await socket.hear() == {"type": "pong"}


async def test_a_subscription_is_told_each_event_until_there_are_no_more(house: House, ada: Person) -> None:
    async with conversing(house, ada.client) as socket:
        await follow(house, socket)
        for notice in ("one", "two", "three"):
            board_of(house).read_out(notice)
            assert await socket.hear() == {"type": "next", "id": "1", "payload": {"data": {"notices": notice}}}
        board_of(house).read_out("the last")
        assert await socket.hear() == {"type": "complete", "id": "1"}
        await follow(house, socket)  # under the same id


async def test_a_subscription_whose_client_has_enough_ends_and_no_other(house: House, ada: Person) -> None:
    async with conversing(house, ada.client) as socket:
        await follow(house, socket, name="1")
        await follow(house, socket, name="2")
        socket.say(type="complete", id="1")
        await until(lambda: board_of(house).listeners == 1)
        board_of(house).read_out("x")
        assert (await socket.hear())["id"] == "2"
        await follow(house, socket, name="1")
    assert board_of(house).listeners == 0


async def test_a_subscription_that_is_complete_before_it_has_begun_takes_no_place(house: House, ada: Person) -> None:
    async with conversing(house, ada.client) as socket:
        for _ in range(3):
            for number in range(MOST_AT_ONCE - 1):
                socket.subscribe(FOLLOW, str(number))
                socket.say(type="complete", id=str(number))
            assert (await socket.ask(NAME, "x"))["data"]
            await until(lambda: board_of(house).listeners == 0)


async def test_a_refused_subscription_is_refused_alone(house: House, ada: Person) -> None:
    async with conversing(house) as nobodys, conversing(house, ada.client) as socket:
        await follow(house, nobodys, FOLLOW_AS_ANYBODY, name="public")
        nobodys.subscribe(FOLLOW)
        refused = (await nobodys.hear())["payload"]
        assert refused["errors"][0]["extensions"]["reason"] == "NOT_AUTHENTICATED"
        assert await nobodys.hear() == {"type": "complete", "id": "1"}
        assert (await nobodys.ask(NAME))["data"]
        socket.subscribe(FOLLOW_AS_ADMINISTRATOR)
        assert (await socket.hear())["payload"]["errors"][0]["extensions"]["reason"] == "INSUFFICIENT_ROLE"


async def test_each_operation_is_another_request_with_an_id_and_a_context_of_its_own(
    house: House, ada: Person, grace: Person
) -> None:
    users = "{ users { nodes { id } } }"
    async with conversing(house, ada.client) as socket:
        before = (await socket.ask(users))["errors"][0]["extensions"]
        await grace.ask(SET_ROLES, {"input": {"id": ada.user_id, "roles": ["USER", "ADMIN"]}})
        assert (await socket.ask(users))["data"]["users"]["nodes"]
        await grace.ask(SET_ROLES, {"input": {"id": ada.user_id, "roles": ["USER"]}})
        after = (await socket.ask(users))["errors"][0]["extensions"]
    assert before["requestId"] != after["requestId"]
    assert before["code"] == after["code"] == "FORBIDDEN"


async def test_what_nobody_foresaw_is_an_error_without_its_text_and_the_socket_goes_on(
    house: House, ada: Person
) -> None:
    async with conversing(house, ada.client) as socket:
        await follow(house, socket)
        with capture_logs() as logs:
            board_of(house).read_out("broken")
            refused = await socket.refusal()
        assert refused["code"] == "INTERNAL"
        assert refused["requestId"] in {line.get("request_id") for line in logs if line["event"] == "internal_error"}
        assert (await socket.ask(NAME))["data"]


async def test_cookies_are_neither_set_nor_taken_away_over_a_socket(house: House, ada: Person) -> None:
    async with conversing(house, ada.client) as socket:
        for query, variables in ((LOG_IN, {"input": {"email": ada.email, "password": PASSWORD}}), (LOG_OUT, None)):
            answer = await socket.ask(query, variables=variables)
            extensions = answer["errors"][0]["extensions"]
            assert (extensions["code"], extensions["reason"]) == ("BAD_REQUEST", "COOKIES_NEED_POST")
        by_body = {"input": {"email": ada.email, "password": PASSWORD, "delivery": "BODY"}}
        begun = (await socket.ask(LOG_IN, variables=by_body))["data"]["login"]
        assert begun["accessToken"]
    assert (await ada.ask(WHO)).data["viewer"]
    sessions = (await ada.ask("{ viewer { sessions { nodes { id } } } }")).data["viewer"]["sessions"]["nodes"]
    assert len(sessions) == 2


# How much


async def test_an_id_that_is_in_use_closes_the_socket(house: House, ada: Person) -> None:
    async with conversing(house, ada.client) as socket:
        await follow(house, socket)
        socket.subscribe(NAME)
        assert await socket.closed() == (4409, "Subscriber for 1 already exists")
    async with conversing(house, ada.client) as socket:
        name = "ü" * 128
        await follow(house, socket, name=name)
        socket.subscribe(NAME, name)
        assert (await socket.closed())[0] == 4409


async def test_a_socket_carries_twenty_operations_at_a_time(house: House, ada: Person) -> None:
    async with conversing(house, ada.client) as socket:
        for number in range(MOST_AT_ONCE):
            await follow(house, socket, name=str(number))
        socket.subscribe(NAME, "one more")
        assert (await socket.refusal("one more"))["code"] == "BAD_REQUEST"
        board_of(house).read_out("x")
        assert {(await socket.hear())["id"] for _ in range(MOST_AT_ONCE)} == {str(n) for n in range(MOST_AT_ONCE)}
        socket.say(type="complete", id="7")
        await until(lambda: board_of(house).listeners == MOST_AT_ONCE - 1)
        assert (await socket.ask(NAME, "one more"))["data"]


async def test_a_thousand_subscriptions_at_once_are_each_answered_and_keep_nobody_waiting(
    house: House, ada: Person
) -> None:
    async with conversing(house, ada.client) as socket:
        for number in range(1_000):
            socket.subscribe(FOLLOW, str(number))
        refused = {(await socket.hear())["id"] for _ in range(1_000 - MOST_AT_ONCE)}
        assert len(refused) == 1_000 - MOST_AT_ONCE
        async with asyncio.timeout(1):
            assert (await ada.ask(WHO)).data
        await until(lambda: board_of(house).listeners == MOST_AT_ONCE)
    assert board_of(house).listeners == 0


async def test_a_client_that_does_not_read_is_dropped(
    house: House, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.socket_wire, "_SEND_SECONDS", 0.05)
    async with conversing(house, ada.client) as socket:
        await follow(house, socket)
        socket.stop_reading()
        board_of(house).read_out("x")
        await socket.over()
        assert socket.has_nothing_to_say
    assert board_of(house).listeners == 0


async def test_a_client_that_hangs_up_leaves_nothing_behind(house: House, ada: Person) -> None:
    before = asyncio.all_tasks()
    async with conversing(house, ada.client) as socket:
        await follow(house, socket, name="1")
        await follow(house, socket, name="2")
        socket.subscribe(WHO, "3")
        await socket.hang_up(1001)
        assert board_of(house).listeners == 0
        assert asyncio.all_tasks() <= before


# How it ends


Ending = Callable[[House, Person], Awaitable[Answer]]


async def log_out(_house: House, person: Person) -> Answer:
    return await person.ask(LOG_OUT)


async def revoke_from_another_session(house: House, person: Person) -> Answer:
    elsewhere = house.client()
    await elsewhere.log_in(person.email)
    return await elsewhere.ask(REVOKE_OTHERS)


async def change_the_password_elsewhere(house: House, person: Person) -> Answer:
    elsewhere = house.client()
    await elsewhere.log_in(person.email)
    new = {"currentPassword": PASSWORD, "newPassword": "another lighthouse entirely"}
    return await elsewhere.ask(CHANGE_PASSWORD, {"input": new})


async def disable_the_account(house: House, person: Person) -> Answer:
    grace = await house.person("grace", administrator=True)
    return await grace.ask(DISABLE, {"input": {"id": person.user_id}})


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (log_out, "SESSION_REVOKED"),
        (revoke_from_another_session, "SESSION_REVOKED"),
        (change_the_password_elsewhere, "SESSION_REVOKED"),
        (disable_the_account, "SESSION_REVOKED"),
    ],
)
async def test_a_socket_ends_with_its_session_and_every_operation_is_told_why(
    house: House, ada: Person, end: Ending, reason: str
) -> None:
    async with conversing(house, ada.client) as socket, conversing(house, ada.client) as idle:
        await follow(house, socket, name="1")
        await follow(house, socket, name="2")
        assert "errors" not in (await end(house, ada)).body
        async with asyncio.timeout(IN_TIME):
            for name in ("1", "2"):
                refused = await socket.refusal(name)
                assert (refused["code"], refused["reason"]) == ("UNAUTHENTICATED", reason)
            assert await socket.closed() == (4401, reason)
            assert await idle.closed() == (4401, reason)
    assert board_of(house).listeners == 0


async def test_nothing_is_shown_once_the_session_has_ended(house: House, ada: Person) -> None:
    async with conversing(house, ada.client) as socket:
        await follow(house, socket)
        await ada.ask(LOG_OUT)
        board_of(house).read_out("not for her")
        assert (await socket.refusal())["reason"] == "SESSION_REVOKED"
        assert await socket.closed() == (4401, "SESSION_REVOKED")


async def test_nothing_is_asked_once_the_session_has_ended(house: House, ada: Person) -> None:
    async with conversing(house, ada.client) as socket:
        await ada.ask(LOG_OUT)
        socket.subscribe(WHO)
        assert (await socket.refusal())["reason"] == "SESSION_REVOKED"
        assert await socket.closed() == (4401, "SESSION_REVOKED")


async def test_a_session_that_is_ended_in_another_process_ends_its_socket(open_house: OpenHouse) -> None:
    here, there = [await open_house("shared", domains=[NOTICES]) for _ in range(2)]
    ada = await here.person("ada")
    elsewhere = there.client(cookie="; ".join(f"{name}={value}" for name, value in ada.client.cookies.items()))
    async with conversing(here, ada.client) as socket:
        await follow(here, socket)
        assert (await elsewhere.ask(LOG_OUT)).data["logout"]["sessionEnded"]
        async with asyncio.timeout(IN_TIME):
            assert (await socket.refusal())["reason"] == "SESSION_REVOKED"
            assert await socket.closed() == (4401, "SESSION_REVOKED")


async def test_the_sockets_of_programs_end_with_their_tokens_accounts_and_keys(open_house: OpenHouse) -> None:
    house = await open_house(domains=[NOTICES])
    ada = await house.person("ada")
    made = await ada.ask(CREATE_API_TOKEN, {"input": {"name": "x", "scopes": ["profile:read"]}})
    api_token = made.data["createApiToken"]["token"]
    service, service_token = await service_of(house, ada)
    access_token = await bearer(ada, house)
    async with (
        conversing(house, token=api_token) as of_script,
        conversing(house, token=service_token) as of_service,
        conversing(house, token=access_token) as of_key,
    ):
        await follow(house, of_service)
        (row,) = (await ada.ask("{ viewer { apiTokens { nodes { id } } } }")).data["viewer"]["apiTokens"]["nodes"]
        await ada.ask(REVOKE_API_TOKEN, {"input": {"id": row["id"]}})
        await ada.ask(DISABLE_SERVICE, {"input": {"id": service}})
        async with asyncio.timeout(IN_TIME):
            assert await of_script.closed() == (4401, "TOKEN_REVOKED")
            assert (await of_service.refusal())["reason"] == "ACCOUNT_DISABLED"
            assert await of_service.closed() == (4401, "ACCOUNT_DISABLED")
        assert of_key.has_nothing_to_say
        await house.auth.key_ring.revoke((await house.auth.key_ring.signing_key()).kid)
        async with asyncio.timeout(IN_TIME):
            assert await of_key.closed() == (4403, "TOKEN_REVOKED")  # its session lives, and has another one


async def service_of(house: House, person: Person) -> tuple[str, str]:
    """Make a service account of somebody's, and return its id and an access token of its own."""
    details = {"name": "robot", "scopes": ["profile:read"]}
    account = (await person.ask(CREATE, {"input": details})).data["createServiceAccount"]["serviceAccount"]
    given = (await person.ask(CREATE_SECRET, {"input": {"id": account["id"]}})).data["createServiceAccountSecret"]
    form = {
        "grant_type": "client_credentials",
        "client_id": account["clientId"],
        "client_secret": given["secret"],
    }
    return account["id"], (await house.client().post("/oauth/token", data=form)).json()["access_token"]


async def test_a_token_that_expires_closes_without_an_error_so_that_clients_resubscribe_with_another(
    open_house: OpenHouse,
) -> None:
    house = await open_house(domains=[NOTICES])
    ada = await house.person("ada")
    async with (
        conversing(house, token=await bearer(ada, house)) as by_token,
        conversing(house, token=await bearer(ada, house)) as idle,
        conversing(house, ada.client) as by_cookie,
    ):
        for socket in (by_token, by_cookie):
            await follow(house, socket)
        house.clock.move(timedelta(minutes=16))
        board_of(house).read_out("to those who may")
        async with asyncio.timeout(IN_TIME):
            assert await by_token.closed() == (4403, "TOKEN_EXPIRED")
            assert await idle.closed() == (4403, "TOKEN_EXPIRED")
        assert await by_cookie.told() == "to those who may"
        assert (await by_cookie.ask(WHO, "2"))["data"]["viewer"]
        house.clock.move(timedelta(days=365))
        async with asyncio.timeout(IN_TIME):
            assert (await by_cookie.refusal())["reason"] == "SESSION_EXPIRED"
            assert await by_cookie.closed() == (4401, "SESSION_EXPIRED")


async def test_a_session_goes_on_behind_a_socket_without_a_renewal_for_each_operation(open_house: OpenHouse) -> None:
    house = await open_house(domains=[NOTICES])
    ada = await house.person("ada")
    async with conversing(house, ada.client) as socket:
        house.clock.move(timedelta(minutes=16))
        with capture_logs() as logs:
            for _ in range(3):
                assert (await socket.ask(WHO))["data"]["viewer"]
        assert {line["event"] for line in logs} == {"operation"}
    (event,) = (await ada.ask("{ viewer { auditEvents(first: 1) { nodes { action } } } }")).data["viewer"][
        "auditEvents"
    ]["nodes"]
    assert event["action"] == "SESSION_START"


async def test_a_role_that_is_lost_ends_what_it_was_needed_for_and_nothing_else(house: House, grace: Person) -> None:
    hedy = await house.person("hedy", administrator=True)
    async with conversing(house, grace.client) as socket:
        await follow(house, socket, FOLLOW_AS_ADMINISTRATOR)
        await follow(house, socket, FOLLOW, "2")
        board_of(house).read_out("x")
        assert {(await socket.hear())["id"] for _ in range(2)} == {"1", "2"}
        await hedy.ask(SET_ROLES, {"input": {"id": grace.user_id, "roles": ["USER"]}})
        board_of(house).read_out("not for everybody")
        messages = {message["id"]: message for message in [await socket.hear(), await socket.hear()]}
        assert messages["1"]["payload"][0]["extensions"]["reason"] == "INSUFFICIENT_ROLE"
        assert messages["2"]["payload"]["data"]["notices"] == "not for everybody"


async def test_a_database_that_is_gone_for_a_moment_ends_nobodys_socket(open_house: OpenHouse) -> None:
    house = await open_house(domains=[NOTICES])
    ada = await house.person("ada")
    async with conversing(house, ada.client) as socket:
        await follow(house, socket)
        with gone(house):
            while "errors" not in (refused := await ada.ask(WHO)).body:
                pass  # whether the file is there is looked at once a second
            assert refused.code == "UNAVAILABLE"
            board_of(house).read_out("later")
            socket.subscribe(WHO, "2")
            assert (await socket.refusal("2"))["code"] == "UNAVAILABLE"
            heard = asyncio.create_task(socket.told())
            await asyncio.wait([heard], timeout=1.2)  # longer than from one look to the next
            assert not heard.done()
        assert await heard == "later"


@contextmanager
def gone(house: House) -> Iterator[None]:
    """Take the database file away for a while."""
    file = house.database_file
    away = file.rename(file.with_name("away"))
    try:
        yield
    finally:
        away.rename(file)


async def test_a_logout_over_the_socket_is_answered_and_then_it_ends(house: House, ada: Person) -> None:
    async with conversing(house, token=await bearer(ada, house)) as socket:
        assert (await socket.ask(LOG_OUT))["data"]["logout"]["sessionEnded"]
        async with asyncio.timeout(IN_TIME):
            assert await socket.closed() == (4401, "SESSION_REVOKED")


async def test_a_mutation_that_is_under_way_when_the_session_ends_answers_first(house: House, ada: Person) -> None:
    board = board_of(house)
    async with conversing(house, ada.client) as socket:
        await follow(house, socket)
        socket.subscribe("mutation { deliberate }", "2")
        await board.is_begun.wait()
        await ada.ask(LOG_OUT)
        assert (await socket.refusal())["reason"] == "SESSION_REVOKED"
        board.may_finish.set()
        assert (await socket.hear())["payload"] == {"data": {"deliberate": "decided"}}
        assert await socket.hear() == {"type": "complete", "id": "2"}
        assert await socket.closed() == (4401, "SESSION_REVOKED")


async def test_a_mutation_is_not_broken_off_because_its_client_has_gone(open_house: OpenHouse) -> None:
    house = await open_house(domains=[NOTICES])
    ada, board = await house.person("ada"), board_of(house)
    async with conversing(house, ada.client) as socket:
        socket.subscribe("mutation { deliberate }")
        await board.is_begun.wait()
        socket.say(type="complete", id="1")
        assert (await socket.ask(NAME))["data"]  # the id is free, and nothing is said of the first
        gone = asyncio.create_task(socket.hang_up())
        await asyncio.wait([gone], timeout=0.1)
        assert not gone.done()
        with capture_logs() as logs:
            board.may_finish.set()
            await gone
        assert "operation" in {line["event"] for line in logs}


# What the log has


async def test_a_socket_has_one_line_at_its_end_and_each_operation_its_own(house: House, ada: Person) -> None:
    token = await bearer(ada, house)
    with capture_logs() as logs:
        async with connecting(house) as socket:
            accepted = await socket.accepted()
            await socket.begin(authorization=f"Bearer {token}")
            await socket.ask(NAME)
            refused = (await socket.ask("{ users { nodes { id } } }"))["errors"][0]["extensions"]
            await socket.hang_up(1001)
    (line,) = [line for line in logs if line["event"] == "socket"]
    assert dict(accepted["headers"])[b"x-request-id"] == line["request_id"].encode()
    assert line.pop("milliseconds") > 0
    assert line == {
        "event": "socket",
        "log_level": "info",
        "request_id": line["request_id"],
        "path": "/graphql",
        "address": "127.0.0.1",
        "status": 101,
        "close_code": 1001,
        "operations": 2,
    }
    operations = [each for each in logs if each["event"] == "operation"]
    assert {each["socket"] for each in operations} == {line["request_id"]}
    assert refused["requestId"] in {each["request_id"] for each in operations}
    assert token not in repr(logs)


async def test_the_log_has_how_the_server_closed_a_socket_or_did_not_open_it(house: House) -> None:
    with capture_logs() as logs:
        async with conversing(house) as socket:
            socket.say_text("no message")
            await socket.closed()
        async with connecting(house, headers={"origin": "https://evil.example"}) as socket:
            with pytest.raises(Refused) as refused:
                await socket.accepted()
    closed, not_opened = [line for line in logs if line["event"] == "socket"]
    assert (closed["status"], closed["close_code"]) == (101, 4400)
    assert (not_opened["status"], not_opened["close_code"]) == (403, None)
    assert not_opened["code"] == "CSRF_REFUSED"
    assert "code" not in closed
    assert refused.value.extensions["requestId"] == not_opened["request_id"]


async def test_a_defect_in_a_socket_is_logged_and_its_client_told_nothing_of_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_message: Any) -> None:
        raise ZeroDivisionError("the text of the defect")

    async with conversing(house) as socket:
        monkeypatch.setattr(web.socket_wire, "read_message", broken)
        with capture_logs() as logs:
            socket.say(type="ping")
            assert await socket.closed() == (1011, "INTERNAL")
    assert "unhandled_error" in {line["event"] for line in logs}
