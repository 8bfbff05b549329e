"""Migrations on PostgreSQL: the same tables, by one process of ten, and whoever is served meanwhile waits little."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Text

from store import StoreUnavailable
from store.locations import PostgreSQL, read_location
from store.migrate import MigrationFailed, Pending, pending, upgrade
from store.migration_connections import OLDEST_POSTGRESQL, looking, migrating
from store.namespaces import Namespace
from store.tables import Key, metadata
from tests.postgres import Postgres, run
from tests.revisions import CREATE, revision, sql
from tests.running import ROOT, free_port

SOON = timedelta(milliseconds=300)
PASSWORD = "swordfish"

REFERS = sql("CREATE TABLE notes_owned (owner uuid REFERENCES users (id))")

_DEFINITIONS = """
SELECT concat_ws(' ', c.relname, attname, format_type(atttypid, atttypmod), attnotnull,
    pg_get_expr(adbin, adrelid), collname) AS definition
FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_collation l ON l.oid = attcollation
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND relkind = 'r' AND relname <> 'alembic_version'
UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
ORDER BY 1
"""


def notes(folder: Path, body: str = CREATE, number: int = 1) -> Namespace:
    return Namespace("notes", revision(folder / "notes", body, number))


def tables(location: PostgreSQL) -> set[str]:
    return {name for (name,) in run(location.uri, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


@asynccontextmanager
async def connected(location: PostgreSQL, *statements: str) -> AsyncIterator[Any]:
    """Be connected as another program is, in the middle of something."""
    connection = await asyncpg.connect(location.uri)
    try:
        for statement in statements:
            await connection.execute(statement)
        yield connection
    finally:
        await connection.close()


def as_role(location: PostgreSQL, name: str, password: str = "") -> PostgreSQL:
    where = urlsplit(location.uri)
    host = where.netloc.rpartition("@")[2]
    return PostgreSQL(where._replace(netloc=f"{name}:{password}@{host}").geturl())


def test_a_migrated_database_is_what_the_code_takes_it_for(postgres: Postgres) -> None:
    migrated, made = postgres.database(), postgres.database(empty=True)
    migrating(made, metadata.create_all)

    def difference(connection: Any) -> Any:
        options = {"compare_type": True, "compare_server_default": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    assert looking(migrated, difference) == []
    assert tables(migrated) == {*metadata.tables, "alembic_version"}
    # To the last name, default and collation.
    assert run(migrated.uri, _DEFINITIONS) == run(made.uri, _DEFINITIONS)


def test_what_is_searched_by_its_beginning_is_compared_byte_by_byte(postgres: Postgres) -> None:
    by_bytes = {
        f"{table.name} {column.name}" for table in metadata.tables.values() for column in table.c if column.type is Key
    }
    others = {
        f"{table.name} {column.name}"
        for table in metadata.tables.values()
        for column in table.c
        if isinstance(column.type, Text) and column.type is not Key
    }
    collated = run(
        postgres.database().uri,
        "SELECT concat_ws(' ', table_name, column_name) FROM information_schema.columns WHERE collation_name = 'C'"
        " AND table_schema = 'public'",
    )
    found = {name for (name,) in collated}
    assert by_bytes
    assert by_bytes <= found
    assert not found & others


UPGRADE = """
import sys
from store.locations import read_location
from store.migrate import upgrade
sys.stdin.readline()
print(len(upgrade(read_location(sys.argv[1]))))
"""


async def test_of_ten_processes_that_start_at_once_one_migrates_and_the_others_find_nothing_left_to_do(
    postgres: Postgres,
) -> None:
    location = postgres.database(empty=True)
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", UPGRADE, location.uri, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe
        )
        for _ in range(10)
    ]
    said = await asyncio.gather(*[process.communicate(b"now\n") for process in processes])
    assert [process.returncode for process in processes] == [0] * 10, said
    assert sorted(out.decode().strip() for out, _ in said) == ["0"] * 9 + ["1"]
    assert pending(location) == []


async def test_a_process_waits_for_its_turn_for_so_long_and_no_longer(postgres: Postgres, tmp_path: Path) -> None:
    location = postgres.database()
    turn = threading.Event(), threading.Event()

    def hold(_connection: object) -> None:
        turn[0].set()
        turn[1].wait()

    holder = threading.Thread(target=migrating, args=(location, hold))
    holder.start()
    try:
        turn[0].wait()
        with pytest.raises(StoreUnavailable, match="another process is migrating this database"):
            upgrade(location, [notes(tmp_path)], patience=SOON)
        assert upgrade(location, patience=SOON) == []  # who has nothing to do waits for nobody
    finally:
        turn[1].set()
        holder.join()
    assert upgrade(location, [notes(tmp_path)]) == [Pending("notes", None, "0001")]


async def test_a_table_that_is_in_use_all_the_time_is_given_up_and_nothing_is_kept(
    postgres: Postgres, tmp_path: Path
) -> None:
    location = postgres.database()
    domain = notes(tmp_path, CREATE + REFERS)
    async with connected(location, "BEGIN", "LOCK TABLE users IN ROW EXCLUSIVE MODE"):
        with pytest.raises(StoreUnavailable, match="in use all the time: try again when less goes on"):
            upgrade(location, [domain], patience=SOON)
        assert tables(location) == {*metadata.tables, "alembic_version"}
    assert upgrade(location, [domain], patience=SOON) == [Pending("notes", None, "0001")]


async def test_while_a_migration_waits_for_a_table_requests_go_by(postgres: Postgres, tmp_path: Path) -> None:
    location = postgres.database()
    domain = notes(tmp_path, REFERS)
    longest, written = 0.0, 0
    async with connected(location) as served, connected(location) as long_one:
        await long_one.execute("BEGIN")
        await long_one.execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")
        waiting = asyncio.create_task(asyncio.to_thread(upgrade, location, [domain]))
        # Behind a lock that is waited for, everybody would wait: with a migration that insisted, none of these ends.
        begun = time.monotonic()
        while time.monotonic() < begun + 1.5:
            before = time.monotonic()
            await served.execute("INSERT INTO setup_tokens VALUES ($1::text::bytea, 0)", str(written))
            await served.execute("UPDATE users SET disabled_at = NULL")
            longest, written = max(longest, time.monotonic() - before), written + 1
        assert not waiting.done()
        await long_one.execute("COMMIT")
        assert await waiting == [Pending("notes", None, "0001")]
    assert longest < 1.0
    assert run(location.uri, "SELECT count(*) FROM setup_tokens") == [(written,)]


def test_a_role_that_may_only_read_can_ask_what_is_behind(postgres: Postgres) -> None:
    empty, migrated = postgres.database(empty=True), postgres.database()
    role = urlsplit(empty.uri).path[1:]
    run(empty.uri, f"CREATE ROLE {role} LOGIN")
    run(migrated.uri, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    try:
        (behind,) = pending(as_role(empty, role))
        assert (behind.namespace, behind.at) == ("core", None)
        assert tables(empty) == set()
        assert pending(as_role(migrated, role)) == []
        assert upgrade(as_role(migrated, role)) == []
        with pytest.raises(MigrationFailed, match="permission denied for schema public"):
            upgrade(as_role(empty, role))
    finally:
        run(migrated.uri, f"DROP OWNED BY {role}")
        run(empty.uri, f"DROP ROLE {role}")


async def test_a_server_that_takes_no_writes_is_unavailable(postgres: Postgres, tmp_path: Path) -> None:
    location = postgres.database()
    run(location.uri, f"ALTER DATABASE {urlsplit(location.uri).path[1:]} SET default_transaction_read_only = on")
    assert upgrade(location) == []
    with pytest.raises(StoreUnavailable, match="25006"):
        upgrade(location, [notes(tmp_path)])


@pytest.mark.parametrize("look", [upgrade, pending])
def test_no_error_shows_the_password(postgres: Postgres, look: Any) -> None:
    there = postgres.database(empty=True)
    host = urlsplit(there.uri).netloc.rpartition("@")[2]
    for uri in (
        f"postgresql://watchword:{PASSWORD}@127.0.0.1:{free_port()}/nobody_listens",
        f"postgresql://watchword:{PASSWORD}@{host}/no_such_database",
        f"postgresql://nobody:{PASSWORD}@{host}/postgres",
        f"postgresql://watchword:{PASSWORD}/{PASSWORD}@{host}/a_slash_in_the_password",
        f"postgresql://watchword:{PASSWORD}#{PASSWORD}@{host}/a_hash_in_the_password",
        f"postgresql://watchword:{PASSWORD}?{PASSWORD}@{host}/a_question_mark_in_the_password",
        f"postgresql://watchword:{PASSWORD}@{host}/postgres?sslmode=verify-full",
        f"postgresql://watchword:{PASSWORD}@{host}/postgres?sslmode={PASSWORD}",
    ):
        location = read_location(uri)
        with pytest.raises(StoreUnavailable) as told:
            look(location)
        error: BaseException | None = told.value
        shown = ""
        while error is not None:
            shown += f"{error!r} {error}"
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        assert PASSWORD not in shown, uri


def test_a_migration_that_fails_is_told_without_the_rows_that_it_failed_at(postgres: Postgres, tmp_path: Path) -> None:
    location = postgres.database()
    strict = 'op.execute("CREATE TABLE notes_pages (id int PRIMARY KEY, text text NOT NULL)")\n'
    table = 'pages = sa.table("notes_pages", sa.column("id", sa.Integer), sa.column("text", sa.Text))\n'
    for row in ('{"id": 41, "text": "swordfish"}, {"id": 41, "text": "swordfish"}', '{"id": 41, "text": None}'):
        with pytest.raises(MigrationFailed, match=r"a migration of 'notes' .* violates") as told:
            upgrade(location, [notes(tmp_path, strict + table + f"op.bulk_insert(pages, [{row}])\n")])
        assert "swordfish" not in str(told.value)
        assert "41" not in str(told.value)
        assert told.value.__suppress_context__
        assert tables(location) == {*metadata.tables, "alembic_version"}


@asynccontextmanager
async def of_an_older_version(location: PostgreSQL) -> AsyncIterator[PostgreSQL]:
    """Stand between a client and the server, and let the server say that it is of the version before the oldest."""
    where = urlsplit(location.uri)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_server: bool) -> None:
        while data := await reader.read(65_536):
            name, found, rest = data.partition(b"server_version\0")
            if is_server and found:
                data = name + found + str(OLDEST_POSTGRESQL - 1).encode() + rest[2:]
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(where.hostname, where.port)
        await asyncio.gather(
            forward(reader, server_writer, is_server=False),
            forward(server_reader, writer, is_server=True),
            return_exceptions=True,
        )

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        yield PostgreSQL(where._replace(netloc=f"{where.username}@127.0.0.1:{port}").geturl())


@pytest.mark.parametrize("look", [upgrade, pending])
async def test_a_server_that_is_too_old_is_refused_with_a_sentence(postgres: Postgres, look: Any) -> None:
    async with of_an_older_version(postgres.database(empty=True)) as location:
        with pytest.raises(StoreUnavailable, match=r"has the version 13: 14 or newer is needed"):
            await asyncio.to_thread(look, location)
