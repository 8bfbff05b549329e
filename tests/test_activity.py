"""The record as it is written: who follows it is told at once, in whichever process it is done, and once."""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

import store.audit_events
from auth.audit import Act
from auth.following import Following
from auth.identity import ANONYMOUS, Identity, IdentityKind
from auth.ids import earlier, new_id
from auth.listener import MOST_WAITING
from auth.origin import Origin
from auth.refusals import FellBehind, Forbidden, Unauthenticated
from store import StoreUnavailable
from store.audit_events import AuditEventRow
from tests.faults import gone, locked
from tests.house import LOG_OUT, House, OpenHouse, Person
from tests.streams import PATIENCE, following, listeners, until

ON_BOTH_ENGINES = True

EVENT = "action actorId subjectId objectId address"
MINE = f"subscription($actions: [AuditAction!]) {{ viewerEvents(actions: $actions) {{ {EVENT} }} }}"
ALL = f"subscription($actions: [AuditAction!]) {{ auditEvents(actions: $actions) {{ {EVENT} }} }}"
SET_ROLES = "mutation($input: SetUserRolesInput!) { setUserRoles(input: $input) { user { id } } }"
NOWHERE = Origin()


def row_id(global_id: str) -> str:
    return base64.b64decode(global_id).decode().partition(":")[2]


def caller(*scopes: str) -> Identity:
    return Identity(IdentityKind.USER, subject=new_id(), scopes=frozenset(scopes))


def watcher() -> Identity:
    return caller("audit:read")


async def taken(rows: AsyncIterator[AuditEventRow], how_many: int = 1) -> list[AuditEventRow]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(rows) for _ in range(how_many)]


async def record(house: House, subject: str | None, act: Act = Act.LOGIN_FAIL, what: str | None = None) -> None:
    await house.auth.audit.record_alone(act, NOWHERE, concerning=subject, what=what)


async def add(house: House, event_id: str, subject: str | None = None) -> None:
    """Commit a row with an id of this test's choosing."""
    row = AuditEventRow(event_id, house.clock.now(), "login:fail", None, None, subject, None, None, None, None, None)
    async with house.auth.database.transaction() as tx:
        await store.audit_events.add(tx, row)


# What is seen, through GraphQL


async def test_what_happens_with_ones_account_is_told_as_it_happens(house: House, ada: Person) -> None:
    async with following(house, ada.client, MINE) as stream:
        other = await house.client().log_in(ada.email)
        event = await stream.event()
    session = (await other_session(ada))["id"]
    assert other.data["login"]["__typename"] == "LoginSucceeded"
    assert event == {
        "action": "SESSION_START",
        "actorId": row_id(ada.id),
        "subjectId": row_id(ada.id),
        "objectId": row_id(session),
        "address": "127.0.0.1",
    }


async def other_session(person: Person) -> dict[str, Any]:
    answer = await person.ask("{ viewer { sessions(first: 1) { nodes { id } } } }")
    newest: dict[str, Any] = answer.data["viewer"]["sessions"]["nodes"][0]
    return newest


async def test_what_concerns_somebody_else_is_not_told(house: House, ada: Person) -> None:
    mary = await house.person("mary")
    async with following(house, ada.client, MINE) as stream:
        await house.client().log_in(mary.email, "not her password")
        await house.client().log_in("nobody.there@example.org", "not their password")
        await house.client().log_in(ada.email, "not her password")
        event = await stream.event()
        # The others were committed before it, so that one of them would be told first.
        assert (event["action"], event["subjectId"]) == ("LOGIN_FAIL", row_id(ada.id))


async def test_who_watches_over_all_is_told_of_everybody(house: House, grace: Person) -> None:
    async with following(house, grace.client, ALL) as stream:
        mary = await house.person("mary")
        told = [(await stream.event())["action"] for _ in range(2)]
    assert told == ["USER_CREATE", "SESSION_START"]
    assert mary.id


async def test_only_the_acts_that_are_asked_for_are_told(house: House, ada: Person) -> None:
    async with following(house, ada.client, MINE, {"actions": ["LOGIN_FAIL", "SESSION_END"]}) as stream:
        browser = house.client()
        await browser.log_in(ada.email)
        await browser.ask(LOG_OUT)
        assert (await stream.event())["action"] == "SESSION_END"


@pytest.mark.parametrize("query", [MINE, ALL])
async def test_no_act_at_all_is_a_mistake(house: House, grace: Person, query: str) -> None:
    async with following(house, grace.client, query, {"actions": []}) as stream:
        (error,) = (await stream.answer())["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


async def test_what_happened_before_is_not_told(house: House, ada: Person) -> None:
    # Others who listen already change nothing about it.
    async with following(house, ada.client, MINE):
        await house.client().log_in(ada.email)
        async with following(house, ada.client, MINE) as stream:
            await house.client().log_in(ada.email, "not her password")
            assert (await stream.event())["action"] == "LOGIN_FAIL"


async def test_two_who_follow_are_told_the_same(house: House, ada: Person, grace: Person) -> None:
    async with following(house, ada.client, MINE) as hers, following(house, grace.client, ALL) as all_of_it:
        await house.client().log_in(ada.email)
        assert (await hers.event())["action"] == (await all_of_it.event())["action"] == "SESSION_START"


async def test_a_subscription_without_the_right_is_refused(house: House, ada: Person) -> None:
    async with following(house, house.client(), MINE) as stream:
        (error,) = (await stream.answer())["errors"]
        assert error["extensions"]["code"] == "UNAUTHENTICATED"
    async with following(house, ada.client, ALL) as stream:
        (error,) = (await stream.answer())["errors"]
        assert error["extensions"]["code"] == "FORBIDDEN"
        assert error["extensions"]["required"] == ["audit:read"]
    assert listeners(house) == 0


# Rights


async def test_the_service_refuses_whoever_came_past_the_guards(house: House) -> None:
    activity = house.auth.activity
    with pytest.raises(Unauthenticated):
        await activity.own(ANONYMOUS)
    with pytest.raises(Forbidden) as refused:
        await activity.own(caller("profile:read"))
    assert refused.value.required == ("activity:read",)
    with pytest.raises(Forbidden) as refused:
        await activity.all(caller("activity:read"))
    assert refused.value.required == ("audit:read",)
    assert listeners(house) == 0


async def test_a_right_that_was_lost_meanwhile_is_missed_at_the_next_event(open_house: OpenHouse) -> None:
    house = await open_house()
    grace, hedy = [await house.person(name, administrator=True) for name in ("grace", "hedy")]
    async with following(house, grace.client, ALL) as stream:
        await hedy.ask(SET_ROLES, {"input": {"id": hedy.user_id, "roles": ["USER", "ADMIN"]}})
        assert (await stream.event())["action"] == "ROLES_SET"
        await hedy.ask(SET_ROLES, {"input": {"id": grace.user_id, "roles": ["USER"]}})
        (error,) = (await stream.answer())["errors"]
        assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("FORBIDDEN", "INSUFFICIENT_SCOPE")
        with pytest.raises(StopAsyncIteration):
            await stream.answer()


async def test_from_where_an_administrator_works_is_told_by_the_rights_of_the_moment(open_house: OpenHouse) -> None:
    house = await open_house()
    grace, hedy = [await house.person(name, administrator=True) for name in ("grace", "hedy")]
    async with following(house, grace.client, MINE, {"actions": ["ROLES_SET"]}) as stream:
        await hedy.ask(SET_ROLES, {"input": {"id": grace.user_id, "roles": ["USER", "ADMIN"]}})
        assert (await stream.event())["address"] == "127.0.0.1"
        await hedy.ask(SET_ROLES, {"input": {"id": grace.user_id, "roles": ["USER"]}})
        event = await stream.event()
    assert (event["actorId"], event["address"]) == (row_id(hedy.id), None)


# Processes, order, and once


async def test_what_another_process_does_is_told_here(open_house: OpenHouse) -> None:
    here, there = await open_house("shared"), await open_house("shared")
    ada = await here.person("ada")
    async with following(here, ada.client, MINE) as stream:
        await there.client().log_in(ada.email)
        await here.client().log_in(ada.email, "not her password")
        await there.client().log_in(ada.email)
        told = [(await stream.event())["action"] for _ in range(3)]
    assert told == ["SESSION_START", "LOGIN_FAIL", "SESSION_START"]


async def test_a_row_that_was_committed_after_a_later_one_is_told_and_nothing_is_told_twice(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    rows = await house.auth.activity.all(watcher())
    quick, last = new_id(), new_id()
    slow = earlier(quick, timedelta(seconds=2))
    await add(house, quick)
    assert [row.id for row in await taken(rows)] == [quick]
    await add(house, slow)
    assert [row.id for row in await taken(rows)] == [slow]
    await add(house, last)
    assert [row.id for row in await taken(rows)] == [last]


async def test_an_id_of_the_future_hides_nothing(open_house: OpenHouse) -> None:
    house = await open_house()
    rows = await house.auth.activity.all(watcher())
    of_tomorrow, of_today = earlier(new_id(), timedelta(days=-1)), new_id()
    await add(house, of_tomorrow)
    assert [row.id for row in await taken(rows)] == [of_tomorrow]
    await add(house, of_today)
    assert [row.id for row in await taken(rows)] == [of_today]


async def test_a_row_that_is_rolled_back_is_never_told(open_house: OpenHouse) -> None:
    house = await open_house()
    rows = await house.auth.activity.all(watcher())

    async def fail_afterwards() -> None:
        async with house.auth.database.transaction() as tx:
            await house.auth.audit.record(tx, Act.USER_CREATE, NOWHERE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_afterwards()
    await record(house, None, Act.USER_REPEAT)
    assert [row.action for row in await taken(rows)] == ["user:repeat"]


# A listener that does not keep up


async def test_who_does_not_read_is_ended_with_a_code_and_nobody_else_notices(open_house: OpenHouse) -> None:
    house, me = await open_house(), watcher()
    slow, quick = await house.auth.activity.all(me), await house.auth.activity.all(me)
    reading = asyncio.create_task(taken(quick, MOST_WAITING + 100))
    async with house.auth.database.transaction() as tx:
        for number in range(MOST_WAITING + 100):
            await house.auth.audit.record(tx, Act.USER_REPEAT, NOWHERE, what=str(number))
    assert [row.object_id for row in await reading] == [str(number) for number in range(MOST_WAITING + 100)]
    with pytest.raises(FellBehind):
        await anext(slow)
    with pytest.raises(FellBehind):
        await anext(slow)
    assert listeners(house) == 1


async def test_a_stream_that_was_not_read_ends_with_a_reason(open_house: OpenHouse) -> None:
    house = await open_house()
    grace = await house.person("grace", administrator=True)
    async with following(house, grace.client, ALL) as stream:
        await record(house, None)
        await until(lambda: stream.has_answered)
        stream.reads.clear()
        async with house.auth.database.transaction() as tx:
            for _ in range(MOST_WAITING + 2):
                await house.auth.audit.record(tx, Act.USER_REPEAT, NOWHERE)
        await until(lambda: listeners(house) == 0)
        stream.reads.set()
        await stream.event()
        await stream.event()  # was on its way
        (error,) = (await stream.answer())["errors"]
        assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("UNAVAILABLE", "STREAM_NOT_READ")
        with pytest.raises(StopAsyncIteration):
            await stream.answer()


# A database that fails


async def answered(house: House) -> None:
    """Wait until the database answers again: whoever asks waits for the next try to connect."""
    async with asyncio.timeout(10):
        while True:
            with suppress(StoreUnavailable):
                return await house.auth.database.ping()


async def test_a_database_that_fails_for_a_moment_ends_no_stream_loses_nothing_and_doubles_nothing(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    rows = await house.auth.activity.all(watcher())
    before, meanwhile, after = (new_id() for _ in range(3))
    await add(house, before)
    assert [row.id for row in await taken(rows)] == [before]
    with capture_logs() as logs, gone(house) as ask:
        ask("INSERT INTO audit_events (id, at, action) VALUES (?, 0, 'login:fail')", meanwhile)
        await until(lambda: "following_interrupted" in [entry["event"] for entry in logs])
        with pytest.raises(StoreUnavailable):
            await house.auth.activity.all(watcher())
    assert [entry["event"] for entry in logs].count("following_interrupted") == 1
    await answered(house)
    await add(house, after)
    assert [row.id for row in await taken(rows, 2)] == [meanwhile, after]


async def test_another_program_that_holds_the_write_lock_keeps_nothing_from_those_who_listen(
    open_house: OpenHouse,
    impatient: timedelta,
) -> None:
    house = await open_house(database_timeout=impatient)
    rows = await house.auth.activity.all(watcher())
    await record(house, None, what="before")
    with locked(house):
        assert [row.object_id for row in await taken(rows)] == ["before"]
        with pytest.raises(StoreUnavailable):
            await record(house, None, what="never")
    await record(house, None, what="after")
    assert [row.object_id for row in await taken(rows)] == ["after"]


async def test_a_defect_ends_the_streams_with_it_and_the_next_one_begins_anew(house: House) -> None:
    async def ids_since(after: str, limit: int) -> list[str]:
        del limit
        asked.append(after)
        if len(asked) == 2:
            raise ZeroDivisionError
        return []

    async def between(first: str, last: str) -> list[AuditEventRow]:
        raise AssertionError(first, last)

    asked: list[str] = []
    table = Following(house.auth.database, ids_since, between, lambda _: ())
    listener = await table.listen("anybody", lambda row: row)
    with capture_logs() as logs, pytest.raises(ZeroDivisionError):
        await taken(listener)
    assert [entry["event"] for entry in logs] == ["following_failed"]
    assert table.listeners == 0
    await until(lambda: not watching())
    again = await table.listen("anybody", lambda row: row)
    assert table.listeners == 1
    await again.aclose()
    await table.close()


# The end


def watching() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "watchword-following"]


async def test_the_table_is_read_only_while_somebody_listens(open_house: OpenHouse) -> None:
    house = await open_house()
    before = set(watching())
    first, second = await house.auth.activity.all(watcher()), await house.auth.activity.own(caller("activity:read"))
    (mine,) = set(watching()) - before
    await first.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(first)
    assert listeners(house) == 1
    await second.aclose()
    await until(mine.done)
    assert listeners(house) == 0
    third = await house.auth.activity.all(watcher())
    await record(house, None)
    assert len(await taken(third)) == 1


async def test_a_listener_that_nobody_holds_any_more_is_gone(open_house: OpenHouse) -> None:
    house = await open_house()

    async def follow() -> AsyncGenerator[AuditEventRow, None]:
        async for row in await house.auth.activity.all(watcher()):
            yield row

    async with aclosing(follow()) as rows:
        first = asyncio.create_task(taken(rows))
        await until(lambda: listeners(house) == 1)
        await record(house, None)
        await first
    await until(lambda: listeners(house) == 0)


async def test_who_waits_is_told_when_the_stream_is_closed(open_house: OpenHouse) -> None:
    house = await open_house()
    rows = await house.auth.activity.all(watcher())
    waiting = asyncio.create_task(taken(rows))
    await rows.aclose()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_a_server_that_ends_ends_its_streams_and_leaves_no_task(open_house: OpenHouse) -> None:
    house = await open_house()
    before = set(watching())
    async with House(house.settings.data_dir, database_url=house.settings.database_url) as ending:
        grace = await ending.person("grace", administrator=True)
        rows = await ending.auth.publications.follow("notes:added")
        stream = following(ending, grace.client, ALL)
        opened = await stream.__aenter__()
        assert len(set(watching()) - before) == 2
    with pytest.raises(StopAsyncIteration):
        await opened.answer()
    with pytest.raises(StopAsyncIteration):
        await anext(rows)
    assert set(watching()) == before
    with pytest.raises(StoreUnavailable):
        await ending.auth.activity.all(watcher())
    await stream.__aexit__(None, None, None)
