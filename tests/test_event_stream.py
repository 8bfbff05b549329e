"""Event streams: an operation's answers as server-sent events, and how such a stream ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

import web.event_stream
from tests.event_streams import EVENT_STREAM, EventStream, streaming
from tests.house import LOG_IN, LOG_OUT, ORIGIN, PASSWORD, House, OpenHouse, Person
from tests.notices import NOTICES, board_of
from tests.streams import until

ON_BOTH_ENGINES = True

FOLLOW = "subscription { notices }"
FOLLOW_AS_ADMINISTRATOR = "subscription { minutes }"
WHO = "{ viewer { kind } }"
SET_ROLES = "mutation($input: SetUserRolesInput!) { setUserRoles(input: $input) { user { id } } }"

BOTH = f"application/graphql-response+json, {EVENT_STREAM};q=0.5"
IN_TIME = 5.0


@pytest.fixture(scope="module")
async def house(
    engine_name: str, tmp_path_factory: pytest.TempPathFactory, database_for: Callable[[str], dict[str, Any]]
) -> AsyncIterator[House]:
    """Give these tests a house with something to follow."""
    settings = database_for(engine_name)
    async with House(tmp_path_factory.mktemp("house"), domains=[NOTICES], **settings) as opened:
        yield opened


async def followed(house: House, stream: EventStream, listeners: int = 1) -> None:
    """Go on once the stream has begun and is followed."""
    status, headers = await stream.begun()
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    await until(lambda: board_of(house).listeners >= listeners)


async def test_a_subscription_is_told_each_event_until_there_are_no_more(house: House, ada: Person) -> None:
    async with streaming(house, ada.client, FOLLOW) as stream:
        await followed(house, stream)
        for notice in ("one", "two\nlines\r\n", "", "data: x\n\nevent: y", "\u2028"):
            board_of(house).read_out(notice)
            assert await stream.told() == notice
        board_of(house).read_out("the last")
        assert await stream.event() == ("complete", None)
        assert await stream.event() is None


async def test_it_begins_with_a_sign_of_life_for_browsers_that_wait_for_one(house: House, ada: Person) -> None:
    async with streaming(house, ada.client, FOLLOW) as stream:
        status, headers = await stream.begun()
        assert [await stream.line(), await stream.line()] == [b":", b""]
    assert status == 200
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["vary"] == "Origin"


async def test_while_nothing_happens_there_is_a_sign_of_life_now_and_then(
    house: House, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.event_stream, "_SIGN_EVERY", timedelta(milliseconds=20))
    async with streaming(house, ada.client, FOLLOW) as stream:
        await followed(house, stream)
        assert [await stream.line() for _ in range(6)] == [b":", b""] * 3
        board_of(house).read_out("x")
        assert await stream.told() == "x"


async def test_queries_and_mutations_are_one_event_for_who_takes_nothing_else(house: House, ada: Person) -> None:
    async with streaming(house, ada.client, WHO) as stream:
        await stream.begun()
        assert await stream.event() == ("next", {"data": {"viewer": {"kind": "USER"}}})
        assert await stream.event() == ("complete", None)
        assert await stream.event() is None


async def test_who_takes_both_is_given_a_stream_for_what_is_one(house: House, ada: Person) -> None:
    answer = await ada.ask(WHO, accept=BOTH)
    assert answer.response.headers["content-type"].startswith("application/graphql-response+json")
    async with streaming(house, ada.client, FOLLOW, accept=BOTH) as stream:
        await followed(house, stream)


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/*", f"application/json, {EVENT_STREAM};q=0"])
async def test_who_does_not_ask_for_a_stream_is_given_none(house: House, ada: Person, accept: str) -> None:
    answer = await ada.client.post("/graphql", json={"query": FOLLOW}, headers={"accept": accept})
    assert not answer.headers["content-type"].startswith(EVENT_STREAM)
    assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
    assert board_of(house).listeners == 0


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { notices announcements }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ " + "__typename " * 3_000 + "}", "OPERATION_TOO_LARGE"),
    ],
)
async def test_a_document_that_is_refused_is_refused_in_an_event(
    house: House, ada: Person, query: str, code: str
) -> None:
    async with streaming(house, ada.client, query) as stream:
        assert (await stream.begun())[0] == 200
        assert (await stream.refusal())["code"] == code


async def test_a_subscription_without_the_right_is_refused_in_an_event(house: House, ada: Person) -> None:
    for client, query, reason in (
        (None, FOLLOW, "NOT_AUTHENTICATED"),
        (ada.client, FOLLOW_AS_ADMINISTRATOR, "INSUFFICIENT_ROLE"),
    ):
        async with streaming(house, client, query) as stream:
            await stream.begun()
            event = await stream.event()
            assert event is not None
            assert event[1]["errors"][0]["extensions"]["reason"] == reason
            assert await stream.event() == ("complete", None)


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{", {}, 400, "BAD_REQUEST"),
        (b"[]", {}, 400, "BAD_REQUEST"),
        (b'{"query":"{ __typename }"}', {"content-type": "text/plain"}, 415, "BAD_REQUEST"),
        (b'{"query":"' + b"x" * 200_000 + b'"}', {}, 413, "BAD_REQUEST"),
        (b'{"query":"{ __typename }"}', {"origin": "https://evil.example"}, 403, "CSRF_REFUSED"),
        (b'{"query":"{ __typename }"}', {"sec-fetch-site": "cross-site"}, 403, "CSRF_REFUSED"),
    ],
)
async def test_what_is_no_request_is_refused_as_any_other(
    ada: Person, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await ada.client.post(
        "/graphql", content=content, headers={"accept": EVENT_STREAM, "content-type": "application/json", **headers}
    )
    assert answer.status_code == status
    assert answer.json()["errors"][0]["extensions"]["code"] == code


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_a_stream_is_asked_for_by_post_alone(ada: Person, method: str) -> None:
    """An EventSource cannot say that it is no foreign page, and the mode of one connection for all is not spoken."""
    answer = await ada.client.request(
        method, "/graphql", params={"query": FOLLOW, "token": "x"}, headers={"accept": EVENT_STREAM}
    )
    assert answer.status_code == 405


async def test_where_queries_are_taken_by_get_nothing_else_is(open_house: OpenHouse) -> None:
    house = await open_house(domains=[NOTICES], get_queries=True)
    ada = await house.person("ada")
    for accept in (EVENT_STREAM, BOTH):
        for query in (FOLLOW, "mutation { revokeOtherSessions { endedSessions } }"):
            headers = {"accept": accept, "apollo-require-preflight": "1"}
            answer = await ada.client.get("/graphql", params={"query": query}, headers=headers)
            assert answer.status_code in {405, 406}
            assert "endedSessions" not in answer.text
    assert board_of(house).listeners == 0


async def test_cookies_are_neither_set_nor_taken_away_in_a_stream(ada: Person) -> None:
    headers = {"accept": EVENT_STREAM}
    for body in (
        {"query": LOG_IN, "variables": {"input": {"email": ada.email, "password": PASSWORD}}},
        {"query": LOG_OUT},
    ):
        answer = await ada.client.post("/graphql", json=body, headers=headers)
        assert "COOKIES_NEED_POST" in answer.text
        assert "set-cookie" not in answer.headers
    assert (await ada.ask(WHO)).data["viewer"]


async def test_a_page_of_another_origin_that_is_allowed_may_read_it(open_house: OpenHouse) -> None:
    house = await open_house(domains=[NOTICES], allowed_origins=["https://app.example.org"])
    async with streaming(house, None, "{ __typename }", origin="https://app.example.org") as stream:
        _, headers = await stream.begun()
        assert headers["access-control-allow-origin"] == "https://app.example.org"
        assert headers["access-control-allow-credentials"] == "true"
    async with streaming(house, None, "{ __typename }", origin=ORIGIN) as stream:
        _, headers = await stream.begun()
        assert "access-control-allow-origin" not in headers


# How it ends


async def test_it_ends_with_its_session_and_says_so(house: House, ada: Person) -> None:
    async with streaming(house, ada.client, FOLLOW) as stream:
        await followed(house, stream)
        await ada.ask(LOG_OUT)
        async with asyncio.timeout(IN_TIME):
            refused = await stream.refusal()
    assert (refused["code"], refused["reason"]) == ("UNAUTHENTICATED", "SESSION_REVOKED")
    assert board_of(house).listeners == 0


async def test_nothing_is_shown_once_the_session_has_ended(house: House, ada: Person) -> None:
    async with streaming(house, ada.client, FOLLOW) as stream:
        await followed(house, stream)
        await ada.ask(LOG_OUT)
        board_of(house).read_out("not for her")
        assert (await stream.refusal())["reason"] == "SESSION_REVOKED"


async def test_a_session_that_is_ended_in_another_process_ends_it(open_house: OpenHouse) -> None:
    here, there = [await open_house("shared", domains=[NOTICES]) for _ in range(2)]
    ada = await here.person("ada")
    elsewhere = there.client(cookie="; ".join(f"{name}={value}" for name, value in ada.client.cookies.items()))
    async with streaming(here, ada.client, FOLLOW) as stream:
        await followed(here, stream)
        await elsewhere.ask(LOG_OUT)
        async with asyncio.timeout(IN_TIME):
            assert (await stream.refusal())["reason"] == "SESSION_REVOKED"


async def test_a_token_that_expires_ends_it_and_a_browsers_session_goes_on(open_house: OpenHouse) -> None:
    house = await open_house(domains=[NOTICES])
    ada = await house.person("ada")
    token = (await house.client().log_in(ada.email, delivery="BODY")).data["login"]["accessToken"]
    async with (
        streaming(house, None, FOLLOW, authorization=f"Bearer {token}") as by_token,
        streaming(house, ada.client, FOLLOW) as by_cookie,
    ):
        await followed(house, by_token)
        await followed(house, by_cookie, listeners=2)
        house.clock.move(timedelta(minutes=16))
        async with asyncio.timeout(IN_TIME):
            assert (await by_token.refusal())["reason"] == "TOKEN_EXPIRED"
        board_of(house).read_out("x")
        assert await by_cookie.told() == "x"


async def test_a_role_that_is_lost_ends_what_it_was_needed_for(house: House, grace: Person) -> None:
    hedy = await house.person("hedy", administrator=True)
    async with streaming(house, grace.client, FOLLOW_AS_ADMINISTRATOR) as stream:
        await followed(house, stream)
        await hedy.ask(SET_ROLES, {"input": {"id": grace.user_id, "roles": ["USER"]}})
        board_of(house).read_out("not for everybody")
        assert (await stream.refusal())["reason"] == "INSUFFICIENT_ROLE"


async def test_what_nobody_foresaw_is_an_error_without_its_text(house: House, ada: Person) -> None:
    async with streaming(house, ada.client, FOLLOW) as stream:
        await followed(house, stream)
        with capture_logs() as logs:
            board_of(house).read_out("broken")
            refused = await stream.refusal()
    assert refused["code"] == "INTERNAL"
    assert refused["requestId"] in {line.get("request_id") for line in logs if line["event"] == "internal_error"}


async def test_a_client_that_hangs_up_leaves_nothing_behind(house: House, ada: Person) -> None:
    before = asyncio.all_tasks()
    async with streaming(house, ada.client, FOLLOW) as stream:
        await followed(house, stream)
        board_of(house).read_out("x")
        assert await stream.told() == "x"
        await stream.hang_up()
        assert board_of(house).listeners == 0
        assert asyncio.all_tasks() <= before


async def test_a_client_that_does_not_read_is_waited_for_and_nothing_piles_up(house: House, ada: Person) -> None:
    before = asyncio.all_tasks()
    async with streaming(house, ada.client, FOLLOW) as stream:
        await followed(house, stream)
        await stream.line()
        stream.stop_reading()
        for number in range(100):
            board_of(house).read_out(str(number))
        await until(lambda: stream.is_waited_for)
        assert stream.has_nothing_to_say
        await stream.hang_up()
        assert board_of(house).listeners == 0
        assert asyncio.all_tasks() <= before


async def test_when_the_server_ends_it_is_broken_off_so_that_clients_subscribe_anew(open_house: OpenHouse) -> None:
    house = await open_house(domains=[NOTICES])
    ada = await house.person("ada")
    async with streaming(house, ada.client, FOLLOW) as stream:
        await followed(house, stream)
        house.runtime.draining.set()
        assert await stream.event() is None
    assert board_of(house).listeners == 0


async def test_its_line_in_the_log_is_written_at_its_end(house: House, ada: Person) -> None:
    with capture_logs() as logs:
        async with streaming(house, ada.client, FOLLOW) as stream:
            _, headers = await stream.begun()
            assert not logs
    (line,) = [line for line in logs if line["event"] == "request"]
    assert (line["request_id"], line["status"]) == (headers["x-request-id"], 200)
