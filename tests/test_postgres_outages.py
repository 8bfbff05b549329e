"""The engine over a PostgreSQL that fails: waits are bounded, no connection is left behind, it is well by itself."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import asyncpg
import psutil
import pytest
from sqlalchemy import Text, bindparam, column, func, insert, select, table
from structlog.testing import capture_logs

from store import Statement, StoreUnavailable
from store.locations import PostgreSQL
from store.postgresql import PostgreSQLDatabase
from tests.postgres import Server, of_server, postgres_server, replica_of, run
from tests.running import wait_until

PATIENCE = timedelta(milliseconds=500)

# How long anything takes at the most that waits for a database; the promise is half a second, the rest is for a machine
# that is busy.
BOUND = PATIENCE.total_seconds() + 1.0
WELL_AGAIN = 2.0

_NOTES = table("notes", column("text", Text))
NOTES = Statement(select(_NOTES.c.text))
ADD = Statement(insert(_NOTES))
SLEEP = Statement(select(func.pg_sleep(bindparam("seconds"))))
PREPARED = Statement(
    select(func.count()).select_from(table("pg_prepared_statements", column("name"))).where(column("name") != "x")
)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with postgres_server("max_connections=60", "shared_buffers=64MB", "fsync=off") as started:
        yield started


@pytest.fixture
def uri(postgres: Server, request: pytest.FixtureRequest) -> str:
    """Give a database of the test's own, with a table in it."""
    name = request.node.name[:60]
    run(postgres.uri, f"CREATE DATABASE {name}")
    location = of_server(postgres.uri, name)
    run(location.uri, "CREATE TABLE notes (text text PRIMARY KEY)")
    return location.uri


@asynccontextmanager
async def opened(uri: str, *, connections: int = 5) -> AsyncIterator[PostgreSQLDatabase]:
    """Open a database and close it; nothing of it is left, here or at the server."""
    before = asyncio.all_tasks()
    database = await PostgreSQLDatabase.open(PostgreSQL(uri), patience=PATIENCE, connections=connections)
    try:
        yield database
    finally:
        await database.close()
    left = {task.get_name() for task in asyncio.all_tasks() - before if task.get_name().startswith("watchword-")}
    assert left == set()


@contextmanager
def in_time(seconds: float = BOUND) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


_numbers = count()


async def write(database: PostgreSQLDatabase, *, length: int = 0) -> str:
    """Write a note, and return its text once that was acknowledged."""
    note = f"note {next(_numbers)} ".ljust(length, ".")
    async with database.transaction("writing") as tx:
        assert await tx.run(ADD, text=note) == 1
    return note


async def notes(database: PostgreSQLDatabase) -> set[str]:
    return {row[0] for row in await database.all(NOTES)}


async def is_well_again(database: PostgreSQLDatabase, within: float = WELL_AGAIN) -> None:
    """Return once the database takes writes."""
    async with asyncio.timeout(within):
        while True:
            with suppress(StoreUnavailable):
                await database.ping()
                await write(database)
                return
            await asyncio.sleep(0.01)


async def becomes(holds: Callable[[], bool]) -> None:
    """Return as soon as it holds, as the server sees it."""
    await asyncio.to_thread(wait_until, holds, lambda: "it never held")


def backends(uri: str, state: str = "") -> int:
    """Return how many connections of ours the server has."""
    ((number,),) = run(
        uri,
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'watchword' "  # noqa: S608 - the test's words
        f"AND datname = current_database() AND state LIKE '{state}%'",
    )
    return int(number)


def end_backends(uri: str) -> None:
    run(
        uri,
        "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity "
        "WHERE application_name = 'watchword' AND datname = current_database()",
    )


# Lost connections


async def test_a_statement_is_prepared_once_on_a_connection(uri: str) -> None:
    async with opened(uri) as database:
        for _ in range(3):
            assert await database.one(PREPARED) == (2,)  # this one, and that of the ping


async def test_connections_that_were_ended_while_nobody_used_them_cost_nobody_an_answer(uri: str) -> None:
    async with opened(uri) as database:
        for ask in (lambda: database.one(NOTES), lambda: notes(database), lambda: write(database), database.ping):
            await asyncio.gather(*(database.one(SLEEP, seconds=0.05) for _ in range(5)))
            with capture_logs() as log:
                end_backends(uri)
                await asyncio.gather(*(ask() for _ in range(5)))
            assert [line["event"] for line in log] == ["database_connections_lost"]
        assert database.connections.open <= 5
        await becomes(lambda: backends(uri) == database.connections.open)


async def test_a_connection_that_is_ended_in_the_middle_of_a_transaction_takes_all_of_it_back(uri: str) -> None:
    async with opened(uri) as database:
        with in_time(), pytest.raises(StoreUnavailable):  # noqa: PT012 - it is raised where the block is left
            async with database.transaction("writing") as tx:
                await tx.run(ADD, text="first")
                end_backends(uri)
                await tx.run(ADD, text="second")
        assert await notes(database) == set()
        assert await write(database) in await notes(database)


async def test_what_was_sent_and_not_answered_is_not_sent_again(uri: str) -> None:
    async with opened(uri) as database:
        task = asyncio.create_task(database.one(SLEEP, seconds=0.4))
        await becomes(lambda: backends(uri, "active") == 1)
        end_backends(uri)
        # A read has changed nothing, so it may be asked once more; it is asked once.
        await task
        assert await database.one(PREPARED) is not None


async def test_a_transaction_in_which_a_statement_failed_is_not_acknowledged(uri: str) -> None:
    async with opened(uri) as database:
        note = await write(database)
        with pytest.raises(StoreUnavailable):  # noqa: PT012 - as above
            async with database.transaction() as tx:
                with suppress(Exception):
                    await tx.run(ADD, text=note)
        assert await write(database) in await notes(database)


async def test_a_value_that_the_driver_cannot_send_is_an_error_of_ours_and_costs_no_connection(uri: str) -> None:
    async with opened(uri) as database:
        (served_by,) = await database.one(Statement(select(func.pg_backend_pid()))) or (None,)
        for _ in range(3):
            with pytest.raises(asyncpg.DataError, match="expected str"):
                async with database.transaction() as tx:
                    await tx.run(ADD, text=5)
        assert await write(database) in await notes(database)
        alive = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {served_by}"  # noqa: S608 - a number
        assert run(uri, alive) == [(1,)]


# Whoever is not waited for any more


async def test_cancelled_at_any_moment_nothing_is_left_behind(uri: str) -> None:
    moments = random.Random(20_260_402)  # noqa: S311 - nobody is kept from guessing them
    async with opened(uri, connections=3) as database:
        for _ in range(60):
            tasks: list[asyncio.Task[object]] = [
                asyncio.create_task(act())
                for act in (
                    lambda: database.one(SLEEP, seconds=0.003),
                    lambda: notes(database),
                    lambda: write(database),
                    lambda: write(database),
                    database.ping,
                )
            ]
            for task in moments.sample(tasks, 4):
                await asyncio.sleep(moments.choice((0, 0, 0.001, 0.003)))
                task.cancel()
            await asyncio.wait(tasks)
            assert all(task.cancelled() or task.exception() is None for task in tasks)
        kept = await write(database)
        assert kept in await notes(database)
        await becomes(lambda: backends(uri) == database.connections.open <= 3)
        assert backends(uri, "idle in transaction") == 0
        assert database.connections.in_use == 0
        assert database.connections.waiting == 0


async def test_closed_under_load_it_answers_everybody_and_leaves_no_connection(uri: str) -> None:
    async with opened(uri, connections=3) as database:
        asking = [asyncio.create_task(write(database)) for _ in range(20)]
        asking += [asyncio.create_task(_slow(database)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with in_time():
            await database.close()
            ended = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(one) for one in ended} <= {str, StoreUnavailable}
    await becomes(lambda: backends(uri) == 0)


async def _slow(database: PostgreSQLDatabase) -> str:
    await database.one(SLEEP, seconds=0.1)
    return ""


# No answer, or a late one


async def test_what_takes_too_long_is_ended_by_the_server_and_the_connection_lives_on(uri: str) -> None:
    async with opened(uri) as database:
        with capture_logs() as log:
            for _ in range(2):
                with in_time(), pytest.raises(StoreUnavailable, match="57014"):
                    await database.one(SLEEP, seconds=30)
        assert [(line["event"], line["sqlstate"]) for line in log] == [("database_refuses", "57014")]
        assert database.connections.open == 1


async def test_a_lock_that_is_not_to_be_had_in_time_is_unavailable_and_others_go_on(uri: str) -> None:
    async with opened(uri) as elsewhere, opened(uri) as database, elsewhere.transaction("writing"):
        with in_time(), pytest.raises(StoreUnavailable, match="55P03"):
            await write(database)
        async with database.transaction("something else") as tx:
            await tx.run(ADD, text="meanwhile")
    assert run(uri, "SELECT text FROM notes") == [("meanwhile",)]


async def test_of_a_server_that_stands_still_the_first_wait_and_the_others_are_told_at_once(
    uri: str, postgres: Server
) -> None:
    async with opened(uri) as database:
        await asyncio.gather(*(database.one(SLEEP, seconds=0.02) for _ in range(5)))
        with capture_logs() as log:
            postgres.freeze()
            try:
                with in_time():
                    ended = await asyncio.gather(*(write(database) for _ in range(20)), return_exceptions=True)
                assert {type(one) for one in ended} == {StoreUnavailable}
                with in_time(BOUND / 2):
                    for _ in range(50):
                        with pytest.raises(StoreUnavailable):
                            await database.one(NOTES)
            finally:
                postgres.thaw()
            await is_well_again(database)
        assert [line["event"] for line in log] == ["database_unavailable", "database_available"]
        await becomes(lambda: backends(uri) <= 5)


async def test_a_process_that_stood_still_itself_takes_no_answer_for_late(uri: str) -> None:
    async with opened(uri) as database:
        with capture_logs() as log:
            for _ in range(2):
                asked = asyncio.create_task(database.one(SLEEP, seconds=0.01))
                await asyncio.sleep(0.005)
                time.sleep(PATIENCE.total_seconds() + 1)  # noqa: ASYNC251 - the whole process stands still
                assert await asked is not None
        assert log == []
        assert database.connections.open == 1


# A server that refuses


async def test_reads_go_on_while_the_server_takes_no_writes_and_writes_as_soon_as_it_does(
    uri: str, postgres: Server
) -> None:
    async with opened(uri) as database:
        note = await write(database)
        with capture_logs() as log:
            run(postgres.uri, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
            try:
                await becomes(lambda: run(uri, "SHOW default_transaction_read_only") == [("on",)])
                for _ in range(20):
                    with in_time(), pytest.raises(StoreUnavailable, match="25006"):
                        await write(database)
                    with in_time(), pytest.raises(StoreUnavailable, match="read-only"):
                        await database.ping()
                    assert await notes(database) == {note}
            finally:
                off = ("SET default_transaction_read_only = off", "ALTER SYSTEM RESET default_transaction_read_only")
                run(postgres.uri, *off, "SELECT pg_reload_conf()")
            await is_well_again(database)
        assert [(line["event"], line["sqlstate"]) for line in log] == [("database_refuses", "25006")]


async def test_a_database_that_is_read_only_for_new_sessions_alone_is_well_again_too(
    uri: str, postgres: Server
) -> None:
    name = uri.rpartition("/")[2]
    async with opened(uri) as database:
        run(postgres.uri, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        end_backends(uri)
        await asyncio.gather(*(database.one(SLEEP, seconds=0.02) for _ in range(5)))
        with pytest.raises(StoreUnavailable):
            await write(database)
        off = ("SET default_transaction_read_only = off", f"ALTER DATABASE {name} RESET default_transaction_read_only")
        run(postgres.uri, *off)
        await is_well_again(database, within=WELL_AGAIN + 1)


async def test_with_fewer_connections_than_it_may_have_it_goes_on_and_says_so_once(uri: str, postgres: Server) -> None:
    async with opened(owned(uri, postgres, "few", "CONNECTION LIMIT 2"), connections=8) as database:
        with capture_logs() as log:
            for _ in range(3):
                with in_time(3):
                    await asyncio.gather(*(database.one(SLEEP, seconds=0.02) for _ in range(20)))
        assert database.connections.open == 2
        assert [line["event"] for line in log] == ["database_connections_refused"]
        assert "53300" in log[0]["why"]


async def test_without_a_connection_to_be_had_it_is_unavailable_at_once_and_well_again_soon(
    uri: str, postgres: Server
) -> None:
    async with opened(owned(uri, postgres, "nobody_else", "CONNECTION LIMIT 2")) as database:
        with capture_logs() as log:
            run(postgres.uri, "ALTER ROLE nobody_else CONNECTION LIMIT 0")
            end_backends(uri)
            for _ in range(20):
                with in_time(), pytest.raises(StoreUnavailable, match="53300"):
                    await database.one(NOTES)
            run(postgres.uri, "ALTER ROLE nobody_else CONNECTION LIMIT 2")
            await is_well_again(database)
        assert [line["event"] for line in log] == ["database_unavailable", "database_available"]


async def test_another_password_is_an_outage_until_it_is_the_right_one_again_and_nobody_reads_it(
    uri: str, postgres: Server
) -> None:
    secret = "nobody%2Freads%40this"
    hba = postgres.folder / "data" / "pg_hba.conf"
    asked = owned(uri, postgres, "careful", "PASSWORD 'nobody/reads@this'").replace("careful@", f"careful:{secret}@")
    hba.write_text("host all careful 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
    run(postgres.uri, "SELECT pg_reload_conf()")
    async with opened(asked) as database:
        with capture_logs() as log:
            run(postgres.uri, "ALTER ROLE careful PASSWORD 'another'")
            end_backends(uri)
            for _ in range(5):
                with in_time(), pytest.raises(StoreUnavailable, match="28P01") as refused:
                    await write(database)
                assert "reads" not in f"{refused.value} {refused.value.__cause__}"
            run(postgres.uri, "ALTER ROLE careful PASSWORD 'nobody/reads@this'")
            await is_well_again(database)
        assert [line["event"] for line in log] == ["database_unavailable", "database_available"]
        assert "reads" not in str(log)


@pytest.mark.parametrize(
    "where",
    ["127.0.0.1:1/x", "127.0.0.1:{port}/nothing", "127.0.0.1:{port}/x?sslmode=verify-full", "[::1]:x/x", "a,b:c:d/x"],
)
async def test_a_url_that_leads_nowhere_is_unavailable_in_time_and_shows_no_password(
    postgres: Server, where: str
) -> None:
    url = f"postgresql://watchword:nobody@reads,this@{where.format(port=postgres.port)}"
    with capture_logs() as log, in_time(), pytest.raises(StoreUnavailable) as refused:
        await PostgreSQLDatabase.open(PostgreSQL(url), patience=PATIENCE, connections=5)
    assert "reads" not in str(refused.value)
    assert "reads" not in str(log)


async def test_a_disk_that_is_full_takes_no_write_and_shows_everything_else(uri: str, postgres: Server) -> None:
    # A file of the log has 16 MiB from the start: a table that has more can be kept from growing, and the log is not.
    run(uri, "INSERT INTO notes SELECT n || repeat(md5(n::text), 30) FROM generate_series(1, 18000) AS n")
    ((size,),) = run(uri, "SELECT pg_relation_size('notes')")
    assert size > 16 * 2**20
    async with opened(uri) as database:
        kept = {await write(database)}
        limit_files(postgres, str(size + 2**16))
        try:
            refused = 0
            with capture_logs() as log:
                for _ in range(300):
                    try:
                        with in_time():
                            kept.add(await write(database, length=900))
                    except StoreUnavailable:
                        refused += 1
                await database.one(NOTES)
        finally:
            limit_files(postgres, "unlimited")
        assert refused > 10
        assert {line["event"] for line in log} == {"database_refuses"}
        assert len(log) == 1
        await is_well_again(database)
        assert kept <= await notes(database)


def limit_files(server: Server, size: str) -> None:
    """Let no process of a server's make a file longer than this, by the hand of the server: they are its own."""
    for process in (psutil.Process(server.pid), *psutil.Process(server.pid).children()):
        with suppress(asyncpg.PostgresError):  # it has ended meanwhile
            run(server.uri, f"COPY (SELECT 1) TO PROGRAM 'prlimit --pid {process.pid} --fsize={size}:'")


def owned(uri: str, postgres: Server, role: str, option: str) -> str:
    """Make a role, to which a test's database belongs from now on; return the URL by which it connects."""
    name = uri.rpartition("/")[2]
    run(postgres.uri, f"CREATE ROLE {role} LOGIN {option}", f"ALTER DATABASE {name} OWNER TO {role}")
    run(uri, f"ALTER TABLE notes OWNER TO {role}")
    return uri.replace("watchword@", f"{role}@")


# Networks, and other machines


@dataclass
class Wire:
    """The network between an application and a server: it can be cut, and then neither side hears of it."""

    port: int
    whole: asyncio.Event = field(default_factory=asyncio.Event)
    _laying: set[asyncio.Task[None]] = field(default_factory=set)
    _carrying: set[asyncio.Task[None]] = field(default_factory=set)
    _ends: list[asyncio.StreamWriter] = field(default_factory=list)

    def lay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.append(writer)
        self._laying.add(asyncio.create_task(self._lay(reader, writer)))

    async def _lay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.whole.wait()
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._ends.append(there_writer)
        for source, target in ((reader, there_writer), (there_reader, writer)):
            self._carrying.add(asyncio.create_task(_piped(source, target)))

    async def cut(self) -> None:
        """Carry nothing any more of what goes on, not even that somebody hung up; and nothing new until `mend`."""
        self.whole.clear()
        carrying, self._carrying = self._carrying, set()
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)

    def mend(self) -> None:
        """Carry what comes from now on: what was cut off stays so."""
        self.whole.set()

    async def close(self) -> None:
        self._carrying |= self._laying
        await self.cut()
        for end in self._ends:
            end.transport.abort()


async def _piped(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65536):
            target.write(data)
    target.close()


@asynccontextmanager
async def wire_to(server: Server) -> AsyncIterator[tuple[Wire, str]]:
    """Lay a wire to a server; give it, and the address at which it begins."""
    wire = Wire(int(server.port))
    wire.mend()
    beginning = await asyncio.start_server(wire.lay, "127.0.0.1", 0)
    try:
        yield wire, f"127.0.0.1:{beginning.sockets[0].getsockname()[1]}"
    finally:
        beginning.close()
        await wire.close()


async def test_what_was_locked_when_the_network_went_away_is_free_as_soon_as_it_is_back(
    uri: str, postgres: Server
) -> None:
    async with wire_to(postgres) as (wire, address), opened(uri.replace(f"127.0.0.1:{postgres.port}", address)) as far:
        with in_time(), pytest.raises(StoreUnavailable):  # noqa: PT012 - as above
            async with far.transaction("writing") as tx:
                await tx.run(ADD, text="never")
                await wire.cut()
                await tx.run(ADD, text="never either")
        assert backends(uri, "idle in transaction") == 1
        wire.mend()
        await is_well_again(far)
        assert backends(uri, "idle in transaction") == 0
        assert "never" not in await notes(far)


async def test_a_host_that_says_nothing_does_not_keep_the_others_from_being_asked(uri: str, postgres: Server) -> None:
    async with wire_to(postgres) as (wire, address):
        await wire.cut()
        hosts = f"{address},127.0.0.1:1,127.0.0.1:{postgres.port}"
        async with opened(uri.replace(f"127.0.0.1:{postgres.port}", hosts)) as database:
            assert await write(database) in await notes(database)


async def test_when_the_primary_dies_and_its_standby_is_promoted_nothing_acknowledged_is_missing() -> None:
    with postgres_server("shared_buffers=64MB") as primary, replica_of(primary) as standby:
        run(primary.uri, "CREATE TABLE notes (text text PRIMARY KEY)")
        run(primary.uri, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        await becomes(lambda: run(primary.uri, "SELECT sync_state FROM pg_stat_replication") == [("sync",)])
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        uri = f"postgresql://watchword@{hosts}/postgres?target_session_attrs=read-write"
        async with opened(uri) as database:
            kept = set(await asyncio.gather(*(write(database) for _ in range(20))))
            # The standby has gone: what is written is nowhere but on the primary, so it is not acknowledged.
            standby.freeze()
            for _ in range(4):
                with in_time(), pytest.raises(StoreUnavailable):
                    await write(database)
                assert kept <= await notes(database)
            standby.thaw()
            await is_well_again(database)
            await becomes(lambda: backends(primary.uri) == database.connections.open)
            # And now the primary, in the midst of writing.
            writing = [asyncio.create_task(_write_until_unavailable(database)) for _ in range(4)]
            await asyncio.wait(writing, timeout=0.1)
            await asyncio.to_thread(primary.kill)
            with in_time():
                kept |= set().union(*await asyncio.gather(*writing))
            with in_time(), pytest.raises(StoreUnavailable):
                await database.ping()
            with pytest.raises(StoreUnavailable, match="standby"):
                await PostgreSQLDatabase.open(
                    PostgreSQL(standby.uri), patience=PATIENCE, connections=1
                )  # what it shows may be out of date
            run(standby.uri, "SELECT pg_promote()")
            await is_well_again(database)
            assert kept <= await notes(database)


async def _write_until_unavailable(database: PostgreSQLDatabase) -> set[str]:
    kept: set[str] = set()
    with suppress(StoreUnavailable):
        while True:
            kept.add(await write(database))
    return kept
