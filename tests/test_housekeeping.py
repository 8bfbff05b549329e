"""What has had its time is taken away, by one process, a few rows at a time, and nothing else is."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from structlog.testing import capture_logs

from auth.housekeeping import Swept
from store import Statement, StoreUnavailable, leftovers, migrate
from store.locations import SQLiteFile
from tests.house import WHO_AM_I, House, OpenHouse

ON_BOTH_ENGINES = True

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
ACTIONS = "{ auditEvents(first: 100) { nodes { action detail } } }"


async def swept(house: House) -> Swept:
    done = await house.auth.housekeeping.sweep_if_due()
    assert done is not None
    return done


async def test_sessions_that_ended_are_kept_for_a_while_and_then_removed(open_house: OpenHouse) -> None:
    house = await open_house(session_retention=timedelta(days=30), session_idle_timeout=timedelta(days=80))
    ada, grace = await house.person("ada"), await house.person("grace")
    (await ada.ask("mutation { logout { sessionEnded } }")).data  # noqa: B018 - raises if it was refused
    house.clock.move(29 * DAY)
    assert (await swept(house)).sessions == 0
    house.clock.move(2 * DAY)
    assert (await swept(house)).sessions == 1
    assert (await grace.ask(WHO_AM_I)).data["viewer"] is not None
    house.clock.move(60 * DAY)
    assert (await swept(house)).sessions == 0  # grace's has expired, and is kept
    house.clock.move(31 * DAY)
    assert (await swept(house)).sessions == 1


async def test_more_rows_than_one_transaction_takes_are_all_removed(open_house: OpenHouse) -> None:
    house = await open_house()
    email = house.address("ada")
    await house.auth.users.create(email=email, password="a lighthouse keeps no secrets", display_name="Ada")
    client = house.client()
    for _ in range(260):  # each login ends the session before it
        (await client.log_in(email)).data  # noqa: B018
    house.clock.move(31 * DAY)
    assert (await swept(house)).sessions == 259
    assert await house.auth.housekeeping.prune_sessions() == 0


async def test_the_record_is_kept_as_long_as_the_operator_says_and_tells_what_is_missing(
    open_house: OpenHouse,
) -> None:
    house = await open_house(audit_retention=timedelta(days=400))
    grace = await house.person("grace", administrator=True)
    before = (await grace.ask(ACTIONS)).data["auditEvents"]["nodes"]
    house.clock.move(399 * DAY)
    assert (await swept(house)).audit_events == 0
    house.clock.move(2 * DAY)
    assert (await swept(house)).audit_events == len(before)
    await grace.client.log_in(grace.email)
    left = (await grace.ask(ACTIONS)).data["auditEvents"]["nodes"]
    assert {"action": "AUDIT_PRUNE", "detail": str(len(before))} in left
    assert "USER_CREATE" not in {event["action"] for event in left}


async def test_a_record_that_is_to_be_kept_for_ever_is(open_house: OpenHouse) -> None:
    house = await open_house(audit_retention=timedelta(0))
    await house.person("ada")
    house.clock.move(36_500 * DAY)
    assert (await swept(house)).audit_events == 0


async def test_tokens_assertions_throttles_and_dead_keys_go_with_their_time(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    made = await ada.ask(
        'mutation { createApiToken(input: {name: "script", scopes: ["profile:read"]}) { __typename } }'
    )
    assert made.data["createApiToken"]["__typename"] == "CreateApiTokenSucceeded"
    await house.auth.key_ring.rotate(at_once=True)
    house.clock.move(91 * DAY)
    first = await swept(house)
    assert (first.api_tokens, first.signing_keys) == (0, 1)
    assert first.throttles > 0
    house.clock.move(31 * DAY)
    assert (await swept(house)).api_tokens == 1


async def test_of_all_who_find_it_due_one_does_it_and_nobody_again_within_the_hour(open_house: OpenHouse) -> None:
    here, there = await open_house(), await open_house()
    done = await asyncio.gather(*[house.auth.housekeeping.sweep_if_due() for house in (here, there) * 5])
    assert len([one for one in done if one is not None]) == 1
    for house in (here, there):
        house.clock.move(timedelta(minutes=55))
        assert await house.auth.housekeeping.sweep_if_due() is None
        house.clock.move(timedelta(minutes=10))
    done = [await house.auth.housekeeping.sweep_if_due() for house in (here, there)]
    assert [one is not None for one in done] == [True, False]


async def test_whoever_dies_over_it_is_replaced(open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house = await open_house()

    async def dies() -> int:
        raise StoreUnavailable("the process is gone")

    with monkeypatch.context() as patched:
        patched.setattr("auth.key_ring.KeyRing.remove_dead", lambda _: dies())
        with pytest.raises(StoreUnavailable):
            await house.auth.housekeeping.sweep_if_due()
    assert await house.auth.housekeeping.sweep_if_due() is None
    house.clock.move(timedelta(minutes=11))
    with capture_logs() as logs:
        await swept(house)
    assert [entry["event"] for entry in logs] == ["housekeeping_done"]


async def test_a_defect_is_logged_and_the_server_goes_on_looking(
    open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Semaphore(0)

    async def fails(_: object) -> None:
        tried.release()
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr("auth.housekeeping._EVERY", timedelta(milliseconds=20))
    monkeypatch.setattr("auth.housekeeping.Housekeeping.sweep_if_due", fails)
    with capture_logs() as logs:
        await open_house()
        async with asyncio.timeout(10):
            for _ in range(3):
                await tried.acquire()
    assert [entry["event"] for entry in logs].count("housekeeping_failed") >= 2


async def test_a_server_looks_by_itself_and_ends_in_the_middle_of_it(open_house: OpenHouse) -> None:
    house = await open_house()
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "watchword-housekeeping" and _of(house, task)]
    await house.auth.housekeeping.close()
    assert task.cancelled()


def _of(house: House, task: "asyncio.Task[object]") -> bool:
    coroutine = task.get_coro()
    frame = getattr(coroutine, "cr_frame", None)
    return frame is not None and frame.f_locals.get("self") is house.auth.housekeeping


def test_whatever_has_had_its_time_is_found_by_an_index_so_that_the_write_lock_is_held_for_a_few_rows_only(
    tmp_path: Path,
) -> None:
    migrate.upgrade(SQLiteFile(tmp_path / "file"))
    statements = [value for value in vars(leftovers).values() if isinstance(value, Statement)]
    assert len(statements) >= 7
    with closing(sqlite3.connect(tmp_path / "file")) as connection:
        for statement in statements:
            sql = statement.compiled(sqlite_dialect(paramstyle="qmark")).sql
            plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [1] * sql.count("?")).fetchall()
            assert not [step for *_, step in plan if step.startswith("SCAN")], sql
            assert "LIMIT" in sql
