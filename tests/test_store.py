"""The store: one contract that every engine keeps, then what belongs to SQLite alone."""

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import Text, bindparam, column, insert, select, table, text
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

import store.sessions
import store.setup_tokens
import store.signing_keys
import store.throttles
import store.users
from auth.ids import new_id
from store import Database, Reader, Statement, StoreUnavailable, Transaction, migrate
from store.locations import PostgreSQL, SQLiteFile
from store.postgresql import PostgreSQLDatabase
from store.sessions import SessionRow
from store.signing_keys import SigningKeyRow
from store.sqlite import SQLiteDatabase
from store.users import UserRow
from tests.postgres import Postgres

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
DAY = timedelta(days=1)
SHORT = timedelta(milliseconds=50)


class Engine(Protocol):
    """Gives a new, empty, migrated database, and opens it as often as it is asked: each is another process's view."""

    def open(self, *, patience: timedelta = timedelta(seconds=2)) -> Awaitable[Database]: ...


@dataclass
class SQLiteEngine:
    file: Path
    stack: AsyncExitStack

    async def open(self, *, patience: timedelta = timedelta(seconds=2)) -> SQLiteDatabase:
        database = SQLiteDatabase(self.file, patience=patience)
        self.stack.push_async_callback(database.close)
        return database


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("migrated") / "watchword.sqlite"
    migrate.upgrade(SQLiteFile(file))
    return file.read_bytes()


@pytest.fixture
async def sqlite_engine(tmp_path: Path, migrated_file: bytes) -> AsyncIterator[SQLiteEngine]:
    file = tmp_path / "watchword.sqlite"
    file.write_bytes(migrated_file)
    async with AsyncExitStack() as stack:
        yield SQLiteEngine(file, stack)


@dataclass
class PostgreSQLEngine:
    location: PostgreSQL
    stack: AsyncExitStack

    async def open(self, *, patience: timedelta = timedelta(seconds=2)) -> PostgreSQLDatabase:
        database = await PostgreSQLDatabase.open(self.location, patience=patience, connections=10)
        self.stack.push_async_callback(database.close)
        return database


@pytest.fixture
async def postgresql_engine(postgres: Postgres) -> AsyncIterator[PostgreSQLEngine]:
    location = postgres.database()
    async with AsyncExitStack() as stack:
        yield PostgreSQLEngine(location, stack)
    postgres.drop(location)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Engine:
    opened: Engine = request.getfixturevalue(f"{request.param}_engine")
    return opened


@pytest.fixture
async def database(engine: Engine) -> Database:
    return await engine.open()


async def add_user(
    tx: Transaction, name: str, *, email: str | None = None, roles: frozenset[str] = frozenset({"user"})
) -> str | None:
    """Add a person; return their id, or None when the address is taken."""
    user_id, address = new_id(), email or f"{name}@example.org"
    added = await store.users.insert_unless_taken(
        tx,
        user_id=user_id,
        email=address,
        email_key=address.casefold(),
        display_name=name,
        password_hash="$argon2id$",
        roles=roles,
        now=NOW,
    )
    return user_id if added else None


async def a_user(tx: Transaction, name: str = "ada") -> str:
    user_id = await add_user(tx, name)
    assert user_id is not None
    return user_id


async def add_session(tx: Transaction, user_id: str, *, expires_at: datetime = NOW + DAY) -> str:
    session = SessionRow(
        id=new_id(),
        user_id=user_id,
        authentication_methods=("pwd", "otp"),
        authenticated_at=NOW,
        created_at=NOW,
        last_seen_at=NOW,
        expires_at=expires_at,
        revoked_at=None,
        device_name="a phone",
        user_agent=None,
        address="2001:db8::1",
    )
    await store.sessions.add(tx, session, secret_digest=session.id.encode())
    return session.id


async def names(reader: Reader, *, prefix: str | None = None, limit: int = 100, after: str | None = None) -> list[str]:
    return [row.display_name for row in await store.users.page(reader, limit=limit, after=after, prefix=prefix)]


# What is written, and who sees it


async def test_a_transaction_reads_its_own_writes(database: Database) -> None:
    async with database.transaction() as tx:
        user_id = await a_user(tx)
        found = await store.users.find(tx, user_id)
        assert found is not None
        assert found.email == "ada@example.org"
        await store.users.set_roles(tx, user_id, frozenset({"admin"}), NOW)
        assert await store.users.someone_has_role(tx, "admin")


async def test_nobody_outside_sees_what_is_not_committed(engine: Engine) -> None:
    here, elsewhere = await engine.open(), await engine.open()
    async with here.transaction() as tx:
        user_id = await a_user(tx)
        assert await store.users.find(here, user_id) is None
        assert await store.users.find(elsewhere, user_id) is None
        assert await names(here) == []


async def test_everybody_sees_at_once_what_was_committed(engine: Engine) -> None:
    here, elsewhere = await engine.open(), await engine.open()
    assert await names(elsewhere) == []
    async with here.transaction() as tx:
        user_id = await a_user(tx)
    for reader in (here, elsewhere):
        found = await store.users.find(reader, user_id)
        assert found is not None
        assert (found.id, found.created_at, found.disabled_at) == (user_id, NOW, None)
        assert found.roles == {"user"}


async def test_what_was_committed_is_there_when_the_database_is_opened_again(engine: Engine) -> None:
    first = await engine.open()
    async with first.transaction() as tx:
        user_id = await a_user(tx)
    await first.close()
    assert await store.users.find(await engine.open(), user_id) is not None


async def test_an_exception_takes_everything_back_and_comes_through(database: Database) -> None:
    async def fails() -> None:
        async with database.transaction() as tx:
            await a_user(tx)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    assert await names(database) == []
    async with database.transaction() as tx:
        await a_user(tx)
    assert await names(database) == ["ada"]


async def test_a_statement_that_fails_can_be_passed_over_and_the_rest_is_kept_or_taken_back_whole(
    database: Database,
) -> None:
    with suppress(Exception):
        async with database.transaction() as tx:
            await a_user(tx)
            await store.signing_keys.add(tx, SigningKeyRow("kid", "EdDSA", "{}", b"sealed", NOW))
            await store.signing_keys.add(tx, SigningKeyRow("kid", "EdDSA", "{}", b"sealed", NOW))
    assert await names(database) == []
    assert await store.signing_keys.load_all(database) == []


async def test_a_transaction_without_a_write_is_no_error(database: Database) -> None:
    async with database.transaction() as tx:
        assert await names(tx) == []


# Cancellation: somebody hangs up in the middle


async def test_a_cancellation_within_takes_everything_back(database: Database) -> None:
    inside = asyncio.Event()

    async def never_ends() -> None:
        async with database.transaction() as tx:
            await a_user(tx)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(never_ends())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(database) == []
    async with database.transaction() as tx:
        await a_user(tx, "grace")
    assert await names(database) == ["grace"]


async def test_a_cancellation_while_waiting_for_ones_turn_leaves_the_others_alone(database: Database) -> None:
    async def writes(name: str) -> None:
        async with database.transaction() as tx:
            await a_user(tx, name)

    async with database.transaction() as tx:
        await a_user(tx)
        waiting = [asyncio.create_task(writes(name)) for name in ("grace", "edsger", "barbara")]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.wait([waiting[1]])
    await asyncio.gather(waiting[0], waiting[2])
    assert sorted(await names(database)) == ["ada", "barbara", "grace"]


@pytest.mark.parametrize("moment", ["begin", "first write", "last write", "commit"])
async def test_a_cancellation_at_any_moment_keeps_all_or_nothing_and_blocks_nobody(
    database: Database, moment: str
) -> None:
    def cancelled_at(this: str) -> None:
        if this == moment:
            # It arrives at the next pause: while the thread, the disk or another program is waited for.
            asyncio.get_running_loop().call_soon(task.cancel)

    async def writes_two() -> None:
        cancelled_at("begin")
        async with database.transaction() as tx:
            await a_user(tx, "one")
            cancelled_at("first write")
            await asyncio.sleep(0)
            await a_user(tx, "two")
            cancelled_at("last write")
            await asyncio.sleep(0)
            cancelled_at("commit")

    task = asyncio.create_task(writes_two())
    await asyncio.wait([task])
    assert task.cancelled()
    kept = sorted(await names(database))
    assert kept in ([], ["one", "two"])
    if moment != "commit":
        assert kept == []
    async with database.transaction() as tx:
        await a_user(tx, "afterwards")
    assert "afterwards" in await names(database)


async def test_whoever_is_cancelled_twice_is_cancelled(database: Database) -> None:
    inside = asyncio.Event()

    async def never_ends() -> None:
        async with database.transaction() as tx:
            await a_user(tx)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(never_ends())
    await inside.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # now it is rolling back
    await asyncio.wait([task])
    assert task.cancelled()
    assert await names(database) == []
    async with database.transaction() as tx:
        await a_user(tx)


async def test_a_deadline_around_a_transaction_is_a_timeout_and_takes_everything_back(database: Database) -> None:
    async def takes_too_long() -> None:
        async with asyncio.timeout(0.01), database.transaction() as tx:
            await a_user(tx)
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await takes_too_long()
    assert await names(database) == []


# Several at once


async def test_transactions_at_once_run_one_after_another_and_none_is_lost(engine: Engine) -> None:
    databases = [await engine.open(patience=timedelta(seconds=20)) for _ in range(3)]

    async def count_and_add(database: Database) -> None:
        async with database.transaction("counting") as tx:
            count = len(await names(tx))
            await asyncio.sleep(0)
            await a_user(tx, f"person {count}")

    await asyncio.gather(*[count_and_add(database) for database in databases * 10])
    assert sorted(await names(databases[0])) == sorted(f"person {count}" for count in range(30))


async def test_of_those_who_want_one_address_at_once_one_gets_it(engine: Engine) -> None:
    databases = [await engine.open(patience=timedelta(seconds=20)) for _ in range(2)]

    async def wants(database: Database) -> bool:
        async with database.transaction() as tx:
            return await add_user(tx, "ada") is not None

    got = await asyncio.gather(*[wants(database) for database in databases * 5])
    assert sorted(got) == [False] * 9 + [True]
    assert await names(databases[0]) == ["ada"]


async def test_readers_wait_for_no_writer(engine: Engine) -> None:
    here, elsewhere = await engine.open(), await engine.open()
    async with here.transaction() as tx:
        await a_user(tx)
        async with asyncio.timeout(1):
            assert await names(elsewhere) == []
            await elsewhere.ping()


async def test_whoever_waits_longer_than_their_patience_is_told_so_and_may_come_back(engine: Engine) -> None:
    database = await engine.open(patience=timedelta(milliseconds=500))
    async with database.transaction("counting") as tx:
        with pytest.raises(StoreUnavailable):
            async with database.transaction("something else", "counting"):
                pytest.fail("two transactions at once in one process")
        await a_user(tx)
    async with database.transaction() as tx:
        await a_user(tx, "grace")
    assert sorted(await names(database)) == ["ada", "grace"]


# Absent, and failed


async def test_what_every_request_asks_is_answered_as_it_is_now_whoever_changed_it(engine: Engine) -> None:
    here, elsewhere = await engine.open(), await engine.open()
    async with here.transaction() as tx:
        user_id = await a_user(tx)
        session_id = await add_session(tx, user_id)
        await store.signing_keys.add(tx, SigningKeyRow("kid", "EdDSA", "{}", b"sealed", NOW))
    for second, writer in enumerate([here, elsewhere] * 20):
        before, instant = NOW + timedelta(seconds=second), NOW + timedelta(seconds=second + 1)
        async with writer.transaction() as tx:
            await store.sessions.touch(tx, session_id, seen_at=instant, address=None)
            meanwhile = await store.sessions.standing_by_token(here, session_id, "kid")
            assert meanwhile is not None
            assert meanwhile.last_seen_at == before
        for reader in (here, elsewhere, here):
            standing = await store.sessions.standing_by_token(reader, session_id, "kid")
            assert standing is not None
            assert standing.last_seen_at == instant
    async with elsewhere.transaction() as tx:
        await store.users.delete_user(tx, user_id)
    for reader in (here, elsewhere):
        assert await store.sessions.standing_by_token(reader, session_id, "kid") is None


async def test_what_is_not_there_is_none(database: Database) -> None:
    assert await store.users.find(database, new_id()) is None
    assert await store.users.find_by_email(database, "nobody@example.org") is None
    assert await store.sessions.find(database, new_id()) is None
    assert await store.sessions.standing(database, new_id()) is None
    assert await store.sessions.standing_by_secret(database, b"digest") is None
    assert await store.signing_keys.load_all(database) == []
    assert await names(database) == []


async def test_a_closed_store_is_unavailable_and_never_empty(database: Database) -> None:
    async with database.transaction() as tx:
        user_id = await a_user(tx)
    await database.close()
    await database.close()
    for ask in (
        store.users.find(database, user_id),
        store.users.find_by_email(database, "ada@example.org"),
        store.sessions.standing(database, user_id),
        store.signing_keys.load_all(database),
        database.ping(),
    ):
        with pytest.raises(StoreUnavailable):
            await ask
    with pytest.raises(StoreUnavailable):
        async with database.transaction():
            pytest.fail("a closed store gave a transaction")


async def test_closing_waits_for_a_transaction_under_way_and_then_gives_none(database: Database) -> None:
    async with database.transaction() as tx:
        closing_down = asyncio.create_task(database.close())
        await asyncio.sleep(0)
        await a_user(tx)
        assert not closing_down.done()
    await closing_down
    with pytest.raises(StoreUnavailable):
        async with database.transaction():
            pytest.fail("a closed store gave a transaction")


async def test_a_wrong_statement_is_an_error_of_ours_and_not_unavailable(database: Database) -> None:
    wrong = Statement(select(column("x")).select_from(table("no_such_table")))
    with pytest.raises(Exception, match="no_such_table") as error:
        await database.one(wrong)
    assert not isinstance(error.value, StoreUnavailable)
    assert await names(database) == []


async def test_an_argument_that_is_missing_is_a_key_error_before_the_database_is_asked(database: Database) -> None:
    statement = Statement(select(column("id")).select_from(table("users")).where(column("id") == bindparam("user_id")))
    with pytest.raises(KeyError, match="user_id"):
        await database.one(statement)
    with pytest.raises(KeyError, match="user_id"):
        await database.all(statement, user="x")


async def test_a_statement_gives_one_row_all_rows_or_how_many_it_touched(database: Database) -> None:
    async with database.transaction() as tx:
        for name in ("ada", "grace", "edsger"):
            await a_user(tx, name)
        named = column("display_name", Text)
        by_name = Statement(select(named).select_from(table("users")).order_by(named))
        assert tuple(await tx.one(by_name) or ()) == ("ada",)
        assert [tuple(row) for row in await tx.all(by_name)] == [("ada",), ("edsger",), ("grace",)]
        assert await store.users.set_disabled(tx, new_id(), NOW) is False


async def test_text_is_data_and_never_sql(database: Database) -> None:
    evil = "'; DROP TABLE users; --"
    async with database.transaction() as tx:
        user_id = await add_user(tx, evil, email=f"{evil}@example.org")
    assert user_id is not None
    assert await names(database) == [evil]
    assert await names(database, prefix=evil.casefold()) == [evil]
    assert await store.users.find_by_email(database, "' OR '1'='1") is None


# People


async def test_an_address_that_is_taken_adds_nothing_and_says_so(database: Database) -> None:
    async with database.transaction() as tx:
        first = await a_user(tx)
    async with database.transaction() as tx:
        assert await add_user(tx, "eve", email="ADA@example.org", roles=frozenset({"admin"})) is None
        assert not await store.users.someone_has_role(tx, "admin")
        assert await a_user(tx, "grace")  # the transaction goes on
    found = await store.users.find_by_email(database, "ada@example.org")
    assert found is not None
    assert (found.id, found.display_name) == (first, "ada")
    assert sorted(await names(database)) == ["ada", "grace"]


async def test_every_letter_comes_back_as_it_was_written(database: Database) -> None:
    letters = [
        "\u00e9\u0301",
        "\U0001f6f0\ufe0f",
        "\u4f60\u597d",
        "\u202etrick",
        "a\nb",
        "\\ \" '",
        "%_",
        "\u0130\u0131",
    ]
    async with database.transaction() as tx:
        for place, name in enumerate(letters):
            assert await add_user(tx, name, email=f"{place}@example.org")
    assert await names(database) == letters[::-1]


async def test_pages_follow_each_other_without_a_gap_or_a_repetition_while_rows_come_and_go(database: Database) -> None:
    async with database.transaction() as tx:
        ids = [await a_user(tx, f"person {place}") for place in range(7)]
    first = await store.users.page(database, limit=3, after=None, prefix=None)
    assert [row.id for row in first] == ids[:3:-1]
    async with database.transaction() as tx:
        await a_user(tx, "newcomer")
        await store.users.delete_user(tx, first[-1].id)  # the very row that the cursor names
        await store.users.delete_user(tx, ids[3])
    second = await store.users.page(database, limit=3, after=first[-1].id, prefix=None)
    assert [row.id for row in second] == [ids[2], ids[1], ids[0]]
    assert await store.users.page(database, limit=3, after=ids[0], prefix=None) == []


async def test_a_search_is_a_prefix_of_the_name_or_the_address_and_no_letter_is_a_wildcard(database: Database) -> None:
    people = ["ada", "adam", "Adele", "bada", "100% sure", "100 sure", "a_b", "axb", "\u00e4gypten", "zz\U0010fffd"]
    async with database.transaction() as tx:
        for place, name in enumerate(people):
            assert await add_user(tx, name, email=f"mail{place}@example.org")
    for prefix, found in {
        "ada": ["ada", "adam"],
        "ad": ["Adele", "ada", "adam"],
        "100%": ["100% sure"],
        "%": [],
        "_": [],
        "a_": ["a_b"],
        "\u00e4": ["\u00e4gypten"],
        "mail3": ["bada"],
        "mail": sorted(people),
        "zz": ["zz\U0010fffd"],
        "adaa": [],
        "[": [],
        "*": [],
    }.items():
        assert sorted(await names(database, prefix=prefix)) == found, prefix
    assert len(await names(database, prefix="mail", limit=4)) == 4


async def test_a_search_goes_on_from_page_to_page(database: Database) -> None:
    async with database.transaction() as tx:
        for place in range(5):
            await a_user(tx, f"match {place}")
            await a_user(tx, f"other {place}")
    seen: list[UserRow] = []
    while page := await store.users.page(database, limit=2, after=seen[-1].id if seen else None, prefix="match"):
        seen += page
    assert [row.display_name for row in seen] == [f"match {place}" for place in (4, 3, 2, 1, 0)]


async def test_roles_are_set_as_a_whole(database: Database) -> None:
    async with database.transaction() as tx:
        user_id = await a_user(tx)
        for roles in (frozenset({"admin", "user"}), frozenset({"admin"}), frozenset[str](), frozenset({"user"})):
            await store.users.set_roles(tx, user_id, roles, NOW)
            found = await store.users.find(tx, user_id)
            assert found is not None
            assert found.roles == roles


async def test_whoever_is_disabled_or_named_does_not_count_for_a_role(database: Database) -> None:
    async with database.transaction() as tx:
        ada, grace = await a_user(tx, "ada"), await a_user(tx, "grace")
        assert not await store.users.someone_has_role(tx, "admin")
        await store.users.set_roles(tx, ada, frozenset({"admin"}), NOW)
        assert await store.users.someone_has_role(tx, "admin")
        assert not await store.users.someone_has_role(tx, "admin", other_than=ada)
        await store.users.set_roles(tx, grace, frozenset({"admin"}), NOW)
        assert await store.users.someone_has_role(tx, "admin", other_than=ada)
        assert await store.users.set_disabled(tx, grace, NOW)
        assert not await store.users.someone_has_role(tx, "admin", other_than=ada)
        assert await store.users.set_disabled(tx, grace, None)
        assert await store.users.someone_has_role(tx, "admin", other_than=ada)


async def test_a_password_is_replaced_only_where_it_is_still_the_expected_one(database: Database) -> None:
    async with database.transaction() as tx:
        user_id = await a_user(tx)
        assert await store.users.set_password(tx, user_id, expected="$argon2id$", new="second", changed_at=LATER)
        assert not await store.users.set_password(tx, user_id, expected="$argon2id$", new="third", changed_at=LATER)
        assert not await store.users.set_password(tx, new_id(), expected="second", new="third", changed_at=LATER)
        found = await store.users.find(tx, user_id)
        assert found is not None
        assert (found.password_hash, found.password_changed_at) == ("second", LATER)


async def test_with_a_person_goes_everything_that_is_theirs_and_nothing_else(database: Database) -> None:
    async with database.transaction() as tx:
        ada, grace = await a_user(tx, "ada"), await a_user(tx, "grace")
        hers, others = await add_session(tx, ada), await add_session(tx, grace)
    async with database.transaction() as tx:
        await store.users.delete_user(tx, ada)
        assert await store.sessions.find(tx, hers) is None
        assert await store.sessions.standing(tx, hers) is None
        assert await store.sessions.find(tx, others) is not None
        roles = Statement(select(column("user_id")).select_from(table("user_roles")))
        assert [row[0] for row in await tx.all(roles)] == [grace]


async def test_a_session_without_its_person_cannot_be(database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)foreign key") as error:
        async with database.transaction() as tx:
            await add_session(tx, new_id())
    assert not isinstance(error.value, StoreUnavailable)


# Sessions


async def test_a_session_comes_back_as_it_was_written(database: Database) -> None:
    async with database.transaction() as tx:
        user_id = await a_user(tx)
        session_id = await add_session(tx, user_id)
    found = await store.sessions.find(database, session_id)
    assert found is not None
    assert found.authentication_methods == ("pwd", "otp")
    assert (found.device_name, found.user_agent, found.address) == ("a phone", None, "2001:db8::1")
    assert (found.created_at, found.expires_at, found.revoked_at) == (NOW, NOW + DAY, None)


async def test_the_standing_of_a_session_is_found_by_id_and_by_digest_with_its_owners_state(database: Database) -> None:
    async with database.transaction() as tx:
        user_id = await a_user(tx)
        session_id = await add_session(tx, user_id)
        await store.users.set_roles(tx, user_id, frozenset({"user", "admin"}), NOW)
        await store.users.set_disabled(tx, user_id, LATER)
    standing = await store.sessions.standing(database, session_id)
    assert standing is not None
    assert standing == await store.sessions.standing_by_secret(database, session_id.encode())
    assert standing.user_id == user_id
    assert standing.roles == {"user", "admin"}
    assert (standing.user_disabled_at, standing.revoked_at) == (LATER, None)


async def test_two_sessions_cannot_have_one_secret(database: Database) -> None:
    async with database.transaction() as tx:
        user_id = await a_user(tx)
        session_id = await add_session(tx, user_id)
    found = await store.sessions.find(database, session_id)
    assert found is not None
    twin = SessionRow(**{name: getattr(found, name) for name in SessionRow.__slots__} | {"id": new_id()})
    with pytest.raises(Exception, match=r"(?i)unique"):
        async with database.transaction() as tx:
            await store.sessions.add(tx, twin, secret_digest=session_id.encode())


async def test_a_session_is_revoked_once_and_stays_revoked_when_it_was(database: Database) -> None:
    async with database.transaction() as tx:
        session_id = await add_session(tx, await a_user(tx))
        assert await store.sessions.revoke(tx, session_id, NOW)
        assert not await store.sessions.revoke(tx, session_id, LATER)
        assert not await store.sessions.revoke(tx, new_id(), NOW)
        found = await store.sessions.find(tx, session_id)
        assert found is not None
        assert found.revoked_at == NOW


async def test_a_session_that_has_expired_is_not_there_to_be_revoked(database: Database) -> None:
    async with database.transaction() as tx:
        session_id = await add_session(tx, await a_user(tx), expires_at=NOW)
        assert not await store.sessions.revoke(tx, session_id, NOW)
        assert await store.sessions.revoke(tx, session_id, NOW - timedelta(seconds=1))


async def test_all_of_a_persons_sessions_end_but_the_one_to_keep_and_nobody_elses(database: Database) -> None:
    async with database.transaction() as tx:
        ada, grace = await a_user(tx, "ada"), await a_user(tx, "grace")
        kept, *ended = [await add_session(tx, ada) for _ in range(4)]
        others = await add_session(tx, grace)
        await store.sessions.revoke(tx, ended[0], NOW)
        assert await store.sessions.revoke_all_of_user(tx, ada, LATER, keep=kept) == 2
        assert await store.sessions.revoke_all_of_user(tx, ada, LATER, keep=kept) == 0
        states = {}
        for session_id in (kept, *ended, others):
            found = await store.sessions.find(tx, session_id)
            assert found is not None
            states[session_id] = found.revoked_at
        assert states == {kept: None, ended[0]: NOW, ended[1]: LATER, ended[2]: LATER, others: None}
        assert await store.sessions.revoke_all_of_user(tx, ada, LATER) == 1


async def test_a_persons_live_sessions_are_listed_newest_first_and_no_others(database: Database) -> None:
    async with database.transaction() as tx:
        ada, grace = await a_user(tx, "ada"), await a_user(tx, "grace")
        live = [await add_session(tx, ada) for _ in range(5)]
        await store.sessions.revoke(tx, live.pop(1), NOW)
        await add_session(tx, ada, expires_at=NOW)
        await add_session(tx, grace)
        await store.sessions.touch(tx, live[0], seen_at=NOW - 2 * DAY, address=None)

    async def page(*, after: str | None = None, limit: int = 10) -> list[str]:
        rows = await store.sessions.page_of_user(database, ada, now=NOW, seen_after=NOW - DAY, limit=limit, after=after)
        return [row.id for row in rows]

    assert await page() == live[:0:-1]
    assert await page(limit=2) == [live[3], live[2]]
    assert await page(after=live[2]) == [live[1]]


async def test_a_session_is_touched_with_when_and_where_it_was_seen(database: Database) -> None:
    async with database.transaction() as tx:
        session_id = await add_session(tx, await a_user(tx))
        await store.sessions.touch(tx, session_id, seen_at=LATER, address="192.0.2.1")
    found = await store.sessions.find(database, session_id)
    assert found is not None
    assert (found.last_seen_at, found.address) == (LATER, "192.0.2.1")


# Setup tokens and signing keys


async def test_the_networks_of_a_persons_sessions_are_known_ended_ones_too_and_nobody_elses(database: Database) -> None:
    async with database.transaction() as tx:
        ada, eve = await a_user(tx), await a_user(tx, "eve")
        session_id = await add_session(tx, ada)  # at 2001:db8::1
        await store.sessions.revoke(tx, session_id, NOW)

    async def seen(user_id: str | None, network: str, since: datetime = NOW) -> bool:
        return await store.sessions.was_seen_from(database, user_id, network, since=since)

    assert await seen(ada, "2001:db8::/64")
    assert not await seen(ada, "2001:db8::/64", since=LATER)
    assert [await seen(who, "2001:db8::/64") for who in (eve, None)] == [False, False]
    async with database.transaction() as tx:
        await store.sessions.touch(tx, session_id, seen_at=LATER, address="::ffff:192.0.2.1")
    assert await seen(ada, "192.0.2.1", since=LATER)
    assert not await seen(ada, "2001:db8::/64")
    async with database.transaction() as tx:
        await store.sessions.advance(tx, session_id, 0, seen_at=LATER, address=None)
    assert not await seen(ada, "192.0.2.1")


async def test_throttles_are_put_over_each_other_brought_forward_and_forgotten_a_few_at_a_time(
    database: Database,
) -> None:
    keys = [bytes([number]) * 32 for number in range(40)]
    async with database.transaction() as tx:
        for number, key in enumerate(keys):
            await store.throttles.put(tx, key, 1_000)
            await store.throttles.put(tx, key, 2_000_000_000_000 + number)
        await store.throttles.bring_forward(tx, keys[1], 500)
        await store.throttles.bring_forward(tx, b"nobody", 500)
    there = await store.throttles.full_at(database, [keys[0], keys[1], b"nobody"])
    assert there == {keys[0]: 2_000_000_000_000, keys[1]: 1_999_999_999_501}
    left = []
    for _ in range(4):
        async with database.transaction() as tx:
            await store.throttles.prune(tx, 2_000_000_000_038)
        found = [await store.throttles.full_at(database, [key]) for key in keys]
        left.append(sum(map(len, found)))
    assert left == [24, 8, 1, 1]


async def test_a_setup_token_is_used_up_once_by_whoever_has_it_in_time(database: Database) -> None:
    async with database.transaction() as tx:
        await store.setup_tokens.replace(tx, digest=b"first", expires_at=LATER)
        await store.setup_tokens.replace(tx, digest=b"second", expires_at=LATER)
        assert not await store.setup_tokens.consume(tx, digest=b"first", now=NOW)
        assert not await store.setup_tokens.consume(tx, digest=b"second", now=LATER)
        assert await store.setup_tokens.consume(tx, digest=b"second", now=LATER - timedelta(seconds=1))
        assert not await store.setup_tokens.consume(tx, digest=b"second", now=NOW)


async def test_a_setup_token_comes_back_when_what_it_was_used_for_fails(database: Database) -> None:
    async with database.transaction() as tx:
        await store.setup_tokens.replace(tx, digest=b"token", expires_at=LATER)

    async def fails() -> None:
        async with database.transaction() as tx:
            assert await store.setup_tokens.consume(tx, digest=b"token", now=NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    async with database.transaction() as tx:
        assert await store.setup_tokens.consume(tx, digest=b"token", now=NOW)


async def test_signing_keys_come_newest_first_with_their_seals_to_the_byte(database: Database) -> None:
    rows = [SigningKeyRow(f"kid {place}", "EdDSA", "{}", bytes(range(256)), NOW + place * DAY) for place in range(3)]
    async with database.transaction() as tx:
        for row in rows:
            await store.signing_keys.add(tx, row)
    assert await store.signing_keys.load_all(database) == rows[::-1]


# SQLite alone


@contextmanager
def other_program(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, isolation_level=None, timeout=0)) as connection:
        yield connection


async def pragma(reader: Reader, name: str) -> object:
    row = await reader.one(Statement(text(f"PRAGMA {name}")))
    return row[0] if row is not None else None


async def test_sqlite_writes_ahead_syncs_every_commit_and_enforces_references(sqlite_engine: SQLiteEngine) -> None:
    database = await sqlite_engine.open()
    async with database.transaction() as tx:
        readers: list[Reader] = [database, tx]
        for reader in readers:
            assert await pragma(reader, "journal_mode") == "wal"
            assert await pragma(reader, "synchronous") == 2
            assert await pragma(reader, "foreign_keys") == 1
        assert await pragma(database, "query_only") == 1


async def test_sqlite_does_not_write_outside_a_transaction(sqlite_engine: SQLiteEngine) -> None:
    database = await sqlite_engine.open()
    with pytest.raises(StoreUnavailable):
        await database.one(
            Statement(insert(table("setup_tokens", column("digest"), column("expires_at")))), digest=b"x", expires_at=1
        )


async def test_sqlite_locked_by_another_program_is_unavailable_in_time_and_works_afterwards(
    sqlite_engine: SQLiteEngine,
) -> None:
    database = await sqlite_engine.open(patience=SHORT)
    loop = asyncio.get_running_loop()
    with other_program(sqlite_engine.file) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = loop.time()
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
            async with database.transaction():
                pytest.fail("the lock is another's")
        assert loop.time() - begun < 1
        assert await names(database) == []  # readers go on
        other.execute("ROLLBACK")
    async with database.transaction() as tx:
        await a_user(tx)
    assert await names(database) == ["ada"]


async def test_sqlite_waits_its_patience_for_another_program(sqlite_engine: SQLiteEngine) -> None:
    database = await sqlite_engine.open()

    async def writes() -> None:
        async with database.transaction() as tx:
            await a_user(tx)

    with other_program(sqlite_engine.file) as other:
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(writes())
        await asyncio.sleep(0)
        other.execute("COMMIT")
        await task
    assert await names(database) == ["ada"]


async def test_sqlite_cancelled_while_it_waits_for_another_program_lets_the_lock_go(
    sqlite_engine: SQLiteEngine,
) -> None:
    database = await sqlite_engine.open()

    async def writes() -> None:
        async with database.transaction() as tx:
            await a_user(tx)

    with other_program(sqlite_engine.file) as other:
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(writes())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        other.execute("COMMIT")
        with pytest.raises(asyncio.CancelledError):
            await task
        other.execute("BEGIN IMMEDIATE")  # it does not hold what it was given after it had gone
        other.execute("COMMIT")
    assert await names(database) == []


async def test_sqlite_locked_for_readers_too_is_unavailable_and_never_empty(sqlite_engine: SQLiteEngine) -> None:
    database = await sqlite_engine.open(patience=SHORT)
    await database.close()
    with other_program(sqlite_engine.file) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM setup_tokens")
        other.execute("COMMIT")
        with pytest.raises(StoreUnavailable):
            await sqlite_engine.open(patience=SHORT)
    assert await names(await sqlite_engine.open(patience=SHORT)) == []


def set_aside(file: Path) -> Path:
    """Rename a database with what SQLite keeps beside it."""
    away = file.with_name("away.sqlite")
    for path in sorted(file.parent.glob(f"{file.name}*")):
        path.rename(f"{away}{path.name.removeprefix(file.name)}")
    return away


def put_in_place(file: Path, content: bytes) -> None:
    """Let a file with this content appear, whole."""
    fresh = file.with_name("fresh")
    fresh.write_bytes(content)
    fresh.replace(file)


def people_in(file: Path) -> list[str]:
    with other_program(file) as other:
        return [name for (name,) in other.execute("SELECT display_name FROM users ORDER BY id DESC")]


async def test_sqlite_removed_under_us_acknowledges_nothing(sqlite_engine: SQLiteEngine) -> None:
    database = await sqlite_engine.open()
    set_aside(sqlite_engine.file)
    with pytest.raises(StoreUnavailable, match="gone"):
        async with database.transaction():
            pytest.fail("the file is gone")
    with pytest.raises(StoreUnavailable, match="gone"):
        await database.ping()


async def test_sqlite_replaced_under_us_goes_on_with_the_file_that_is_there_now(
    sqlite_engine: SQLiteEngine, migrated_file: bytes
) -> None:
    database = await sqlite_engine.open()
    async with database.transaction() as tx:
        await a_user(tx)
    assert await names(database) == ["ada"]
    away = set_aside(sqlite_engine.file)
    put_in_place(sqlite_engine.file, migrated_file)
    async with database.transaction() as tx:
        assert await names(tx) == []
        await a_user(tx, "grace")
    assert await names(database) == ["grace"]  # at once, though reads look for another file only now and then
    assert people_in(away) == ["ada"]
    async with database.transaction() as tx:
        readers: list[Reader] = [database, tx]
        for reader in readers:
            assert await pragma(reader, "synchronous") == 2
            assert await pragma(reader, "foreign_keys") == 1
    assert await pragma(database, "query_only") == 1


async def test_sqlite_replaced_while_a_write_waits_for_its_turn_is_written_to_and_the_old_one_is_not(
    sqlite_engine: SQLiteEngine, migrated_file: bytes
) -> None:
    database = await sqlite_engine.open()

    async def writes() -> None:
        async with database.transaction() as tx:
            await a_user(tx)

    with other_program(sqlite_engine.file) as other:
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(writes())
        await asyncio.sleep(0)  # it waits in its thread
        away = set_aside(sqlite_engine.file)
        put_in_place(sqlite_engine.file, migrated_file)
        other.execute("ROLLBACK")
        await task
    await database.ping()
    assert await names(database) == ["ada"]
    assert people_in(away) == []


async def test_sqlite_replaced_by_hand_with_the_log_left_beside_it_is_neither_read_nor_written(
    sqlite_engine: SQLiteEngine, migrated_file: bytes
) -> None:
    database = await sqlite_engine.open()
    async with database.transaction() as tx:
        await a_user(tx)
    put_in_place(sqlite_engine.file, migrated_file)  # SQLite would take the log of the one before for this one's
    with pytest.raises(StoreUnavailable, match="left beside it"):
        await database.ping()
    with pytest.raises(StoreUnavailable, match="left beside it"):
        async with database.transaction():
            pytest.fail("it is a mixture")
    assert sqlite_engine.file.read_bytes() == migrated_file


async def test_sqlite_replaced_under_two_leaves_the_new_log_alone_when_the_old_file_is_closed(
    sqlite_engine: SQLiteEngine, migrated_file: bytes
) -> None:
    database, other = await sqlite_engine.open(), await sqlite_engine.open()
    set_aside(sqlite_engine.file)
    put_in_place(sqlite_engine.file, migrated_file)
    async with other.transaction() as tx:
        await a_user(tx)
    await database.close()  # the last of those who have the old one open, and log and index go with the last
    assert await names(await sqlite_engine.open()) == ["ada"]


async def test_sqlite_replaced_is_a_change_to_who_waits_for_one(
    sqlite_engine: SQLiteEngine, migrated_file: bytes
) -> None:
    database = await sqlite_engine.open()
    changes = database.changes()
    set_aside(sqlite_engine.file)
    put_in_place(sqlite_engine.file, migrated_file)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await changes.wait()
    assert loop.time() - begun < 3  # and not only after looking in vain


@pytest.mark.parametrize("content", [b"", b"not a database, by far" * 100])
async def test_sqlite_replaced_by_what_is_no_database_of_ours_is_unavailable_until_there_is_one(
    sqlite_engine: SQLiteEngine, migrated_file: bytes, content: bytes
) -> None:
    database = await sqlite_engine.open()
    set_aside(sqlite_engine.file)
    put_in_place(sqlite_engine.file, content)
    with pytest.raises(StoreUnavailable):
        await database.ping()
    with pytest.raises(StoreUnavailable):
        async with database.transaction():
            pytest.fail("it is no database")
    assert sqlite_engine.file.read_bytes() == content
    put_in_place(sqlite_engine.file, migrated_file)
    await database.ping()
    async with database.transaction() as tx:
        await a_user(tx)
    assert await names(database) == ["ada"]


async def test_sqlite_removed_under_us_is_not_read_either(sqlite_engine: SQLiteEngine) -> None:
    database = await sqlite_engine.open()
    sqlite_engine.file.unlink()
    with pytest.raises(StoreUnavailable):
        await names(database)


@pytest.mark.parametrize("content", [b"not a database, by far" * 100, b"SQLite format 3\0" + b"\xff" * 4_096])
async def test_sqlite_refuses_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "junk").write_bytes(content)
    with pytest.raises(StoreUnavailable):
        SQLiteDatabase(tmp_path / "junk")


def test_sqlite_makes_no_file_where_there_is_none(tmp_path: Path) -> None:
    for path in (tmp_path / "none.sqlite", tmp_path / "no" / "folder.sqlite", tmp_path):
        with pytest.raises(StoreUnavailable):
            SQLiteDatabase(path)
    assert list(tmp_path.iterdir()) == []


async def test_sqlite_damaged_under_us_is_unavailable(sqlite_engine: SQLiteEngine) -> None:
    damaged = bytearray(sqlite_engine.file.read_bytes())
    damaged[4_096:] = b"\xa5" * (len(damaged) - 4_096)
    sqlite_engine.file.write_bytes(damaged)

    async def read() -> None:
        await names(await sqlite_engine.open())

    async def write() -> None:
        async with (await sqlite_engine.open()).transaction() as tx:
            await a_user(tx)

    with pytest.raises(StoreUnavailable):
        await read()
    with pytest.raises(StoreUnavailable):
        await write()


async def test_sqlite_on_a_full_disk_takes_the_whole_transaction_back(sqlite_engine: SQLiteEngine) -> None:
    database = await sqlite_engine.open()
    async with database.transaction() as tx:
        await a_user(tx)
        full = await pragma(tx, "page_count")
        await pragma(tx, f"max_page_count = {full}")

    async def writes_more_than_fits() -> None:
        async with database.transaction() as tx:
            await a_user(tx, "grace")
            for place in range(100):
                await a_user(tx, f"person {place} {'x' * 1_000}")

    with pytest.raises(StoreUnavailable, match="SQLITE_FULL"):
        await writes_more_than_fits()
    assert await names(database) == ["ada"]
    async with database.transaction() as tx:
        await pragma(tx, "max_page_count = 1000000")
        await a_user(tx, "edsger")
    assert await names(database) == ["edsger", "ada"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes where it may not")
async def test_sqlite_that_may_not_be_written_is_unavailable(sqlite_engine: SQLiteEngine) -> None:
    sqlite_engine.file.chmod(0o400)

    async def writes() -> None:
        async with (await sqlite_engine.open()).transaction() as tx:
            await a_user(tx)

    with pytest.raises(StoreUnavailable):
        await writes()


async def test_sqlite_opened_by_two_threads_of_control_shares_no_transaction(sqlite_engine: SQLiteEngine) -> None:
    database = await sqlite_engine.open()
    entered: list[str] = []

    async def enters(name: str) -> None:
        async with database.transaction() as tx:
            entered.append(f"{name} in")
            await asyncio.sleep(0)
            await a_user(tx, name)
            entered.append(f"{name} out")

    await asyncio.gather(*[enters(name) for name in ("ada", "grace", "edsger")])
    assert entered == ["ada in", "ada out", "grace in", "grace out", "edsger in", "edsger out"]


def test_a_statement_is_compiled_once_for_a_dialect() -> None:
    dialect = sqlite_dialect(paramstyle="qmark")
    statement = Statement(
        select(column("a")).select_from(table("t")).where(column("a") == bindparam("wanted")).limit(5)
    )
    compiled = statement.compiled(dialect)
    assert statement.compiled(dialect) is compiled
    assert statement.compiled(sqlite_dialect(paramstyle="qmark")) is compiled
    assert compiled.arguments({"wanted": 1}) == (1, 5, 0)
    with pytest.raises(KeyError, match="wanted"):
        compiled.arguments({})


WRITER = """
import asyncio, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
import store.setup_tokens, store.users
from auth.ids import new_id
from store.sqlite import SQLiteDatabase

async def write(file: Path) -> None:
    database = SQLiteDatabase(file, patience=timedelta(seconds=20))
    while True:
        user_id = new_id()
        async with database.transaction() as tx:
            await store.users.insert_unless_taken(
                tx, user_id=user_id, email=user_id, email_key=user_id, display_name="x" * 500,
                password_hash="x", roles=frozenset({"user", "admin"}), now=datetime.now(UTC),
            )
        print(user_id, flush=True)

asyncio.run(write(Path(sys.argv[1])))
"""


@asynccontextmanager
async def writer(file: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(file), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_sqlite_loses_nothing_that_was_acknowledged_when_its_writer_is_killed(
    sqlite_engine: SQLiteEngine,
) -> None:
    acknowledged: list[str] = []
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(writer(sqlite_engine.file)) for _ in range(2)]
        for process, after in zip(processes, (40, 15), strict=True):
            assert process.stdout is not None
            acknowledged += [(await process.stdout.readline()).decode().strip() for _ in range(after)]
            process.send_signal(signal.SIGKILL)  # in the middle of whatever it is doing
            rest = (await process.stdout.read()).decode()
            acknowledged += [line for line in rest.split("\n")[:-1] if line]
    assert len(acknowledged) >= 55
    database = await sqlite_engine.open()
    for user_id in acknowledged:
        found = await store.users.find(database, user_id)
        assert found is not None, "what was acknowledged is lost"
        assert found.roles == {"user", "admin"}, "a transaction was kept in part"
    assert await pragma(database, "integrity_check") == "ok"
    async with database.transaction() as tx:
        await a_user(tx)
