"""Backups of a database that is in use, and what comes of it when one is put back under a running server."""

import asyncio
import multiprocessing
import random
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from alembic import command as alembic

from store import migrate
from store.locations import SQLiteFile
from store.migration_connections import migrating
from store.namespaces import CORE
from store.sqlite_restoring import put_in_place
from tests.commands import Run, refused, runner, succeeded
from tests.house import LOG_OUT, PASSWORD, SIGN_UP, WHO_AM_I, Client, House, OpenHouse
from tests.running import ROOT, START_SECONDS, Server, environment, serving, wait_until

CREATE_TOKEN = """
mutation { createApiToken(input: {name: "script", scopes: ["profile:read"]}) {
  ... on CreateApiTokenSucceeded { token }
} }
"""
OF_A_SCRIPT = "{ viewer { id kind } }"
ACTS = "{ auditEvents(first: 3) { nodes { action detail } } }"

SEED = 20_261_124  # the moments differ from machine to machine all the same
ROUNDS_OF_DEATH = 12


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "own"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backups" / "backup.sqlite"


@pytest.fixture
def run(data: Path, file: Path) -> Run:
    """Run a command on the installation that `open_house` opens, as another program does, beside it."""
    file.parent.mkdir()
    return runner(data)


async def done(run: Run, *arguments: str | Path, **settings: str) -> str:
    return succeeded(await asyncio.to_thread(run, *map(str, arguments), **settings))


async def not_done(run: Run, *arguments: str | Path, **settings: str) -> str:
    return refused(await asyncio.to_thread(run, *map(str, arguments), **settings))


def emails(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return {row[0] for row in connection.execute("SELECT email FROM users")}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode_of(file: Path) -> int:
    return file.stat().st_mode & 0o777


def kept_in(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if re.fullmatch(r"watchword\.sqlite\.until-\d{8}T\d{6}Z", path.name)
    )


async def signed_up(house: House, name: str) -> str:
    email = house.address(name)
    await house.auth.users.create(email=email, password=PASSWORD, display_name=name)
    return email


# --- Backups ---------------------------------------------------------------------------------------------------------


async def test_a_backup_is_one_file_for_its_owner_alone_with_all_that_was_acknowledged(
    open_house: OpenHouse, run: Run, file: Path
) -> None:
    house = await open_house()
    everybody = {await signed_up(house, name) for name in ("ada", "grace")}
    assert "revision " in await done(run, "backup", file)
    assert names_in(file.parent) == [file.name]
    assert mode_of(file) == 0o600
    assert emails(file) == everybody


async def test_a_backup_takes_no_files_place_unless_told_to(open_house: OpenHouse, run: Run, file: Path) -> None:
    house = await open_house()
    with closing(sqlite3.connect(file)) as last_weeks:
        last_weeks.execute("CREATE TABLE users (email)")
    assert "exists already" in await not_done(run, "backup", file)
    assert emails(file) == set()
    ada = await signed_up(house, "ada")
    await done(run, "backup", file, "--force")
    assert emails(file) == {ada}
    assert mode_of(file) == 0o600
    assert names_in(file.parent) == [file.name]


@pytest.mark.parametrize("name", ["watchword.sqlite", "watchword.sqlite-wal", "watchword.sqlite-shm", "link"])
async def test_a_backup_never_takes_the_place_of_the_database(
    open_house: OpenHouse, run: Run, data: Path, name: str
) -> None:
    house = await open_house()
    linked(data / "watchword.sqlite", data / "link")
    before = inodes_in(data)
    assert "is the database itself" in await not_done(run, "backup", data / name, "--force")
    assert inodes_in(data) == before
    await house.person("ada")


def linked(file: Path, link: Path) -> None:
    link.symlink_to(file)


def inodes_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


async def test_a_backup_that_cannot_be_written_leaves_nothing(open_house: OpenHouse, run: Run, file: Path) -> None:
    await open_house()
    assert "cannot be written" in await not_done(run, "backup", file.parent / "nowhere" / "backup.sqlite")
    assert "is a folder" in await not_done(run, "backup", file.parent, "--force")
    assert names_in(file.parent) == []


async def test_a_damaged_database_is_not_taken_for_a_backup(open_house: OpenHouse, run: Run, file: Path) -> None:
    house = await open_house()
    with closing(sqlite3.connect(house.database_file, isolation_level=None)) as other:
        other.execute("PRAGMA foreign_keys = OFF")
        other.execute("INSERT INTO user_roles VALUES ('00000000-0000-0000-0000-000000000001', 'admin', 0)")
    assert "is damaged: a row refers to none" in await not_done(run, "backup", file)
    assert names_in(file.parent) == []


async def test_it_is_said_where_the_secret_key_is_and_never_what_it_is(
    open_house: OpenHouse, run: Run, data: Path, file: Path
) -> None:
    await open_house()
    told = await done(run, "backup", file)
    assert f"The secret key is not in it: {data / 'secret_key'} is." in told
    assert (data / "secret_key").read_text().strip() not in told
    key = "k" * 40
    told = await done(run, "backup", file, "--force", secret_key=key)
    assert "The secret key is not in it: WATCHWORD_SECRET_KEY is." in told
    assert key not in told


async def test_what_was_deleted_is_not_in_a_backup(open_house: OpenHouse, run: Run, file: Path) -> None:
    house = await open_house()
    email = await signed_up(house, "somebody.who.left")
    with closing(sqlite3.connect(house.database_file, isolation_level=None)) as other:
        other.execute("PRAGMA foreign_keys = ON")
        other.execute("DELETE FROM users WHERE email = ?", [email])
    await done(run, "backup", file)
    assert not has(file, email.encode())


def has(file: Path, what: bytes) -> bool:
    return what in file.read_bytes()


async def test_a_database_that_waits_for_its_migration_is_backed_up_as_it_is(run: Run, data: Path, file: Path) -> None:
    of_revision("0003", data / "watchword.sqlite")
    assert "revision 0003" in await done(run, "backup", file)
    assert revision_of(file) == revision_of(data / "watchword.sqlite") == "0003"


@pytest.mark.parametrize("arguments", [("backup", "x.sqlite"), ("restore", "x.sqlite", "--yes")])
def test_on_postgresql_its_own_tools_are_named(run: Run, arguments: tuple[str, ...]) -> None:
    told = refused(run(*arguments, database_url="postgresql://watchword:geheim@db.internal/watchword"))
    for word in ("PostgreSQL at db.internal/watchword", "pg_dump", "pg_restore", "point-in-time recovery"):
        assert word in told
    assert "geheim" not in told


def test_without_a_database_there_is_nothing_to_back_up_and_none_is_made(run: Run, data: Path, file: Path) -> None:
    assert "there is no database file" in refused(run("backup", str(file)))
    assert not data.exists()


# --- Restoring -------------------------------------------------------------------------------------------------------


async def test_a_backup_is_put_back_under_a_server_and_the_database_before_is_kept(
    open_house: OpenHouse, run: Run, data: Path, file: Path
) -> None:
    house = await open_house()
    ada = await house.person("ada")
    await done(run, "backup", file)
    grace = await house.person("grace")
    told = await done(run, "restore", file, "--yes")
    (kept,) = kept_in(data)
    assert f"The database before is {kept}." in told
    assert mode_of(kept) == 0o600
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id
    assert (await grace.ask(WHO_AM_I)).reason == "SESSION_UNKNOWN"
    edsger = await house.person("edsger")
    assert emails(house.database_file) == {ada.email, edsger.email}
    assert emails(kept) == {ada.email, grace.email}
    assert not [name for name in names_in(data) if name.startswith(".")]


async def test_it_is_on_the_record_that_a_backup_was_put_back_and_of_when(
    open_house: OpenHouse, run: Run, file: Path
) -> None:
    house = await open_house()
    grace = await house.person("grace", administrator=True)
    await done(run, "backup", file)
    await done(run, "restore", file, "--yes")
    newest = (await grace.ask(ACTS)).data["auditEvents"]["nodes"][0]
    assert newest["action"] == "DATABASE_RESTORE"
    assert datetime.now(UTC).timestamp() - datetime.fromisoformat(newest["detail"]).timestamp() < 600


async def test_what_was_ended_since_lives_again_unless_everything_is_ended(
    open_house: OpenHouse, run: Run, data: Path, file: Path
) -> None:
    house = await open_house()
    ada, grace = await house.person("ada"), await house.person("grace")
    token = (await ada.ask(CREATE_TOKEN)).data["createApiToken"]["token"]
    script = house.client(authorization=f"Bearer {token}")
    cookies = dict(ada.client.cookies)
    await done(run, "backup", file)
    await ada.ask(LOG_OUT)
    ada.client.cookies.update(cookies)
    assert (await ada.ask(WHO_AM_I)).reason == "SESSION_REVOKED"

    assert "as it was" in await done(run, "restore", file, "--yes")
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id

    for path in kept_in(data):
        path.unlink()
    assert "Sessions ended: 2." in await done(run, "restore", file, "--yes", "--end-sessions")
    assert (await ada.ask(WHO_AM_I)).reason == "SESSION_REVOKED"
    assert (await grace.ask(WHO_AM_I)).reason == "SESSION_REVOKED"
    assert (await script.ask(OF_A_SCRIPT)).data["viewer"]["kind"] == "USER"
    assert (await ada.client.log_in(ada.email)).data["login"]["__typename"] == "LoginSucceeded"

    for path in kept_in(data):
        path.unlink()
    assert "API tokens revoked: 1." in await done(run, "restore", file, "--yes", "--revoke-tokens")
    assert (await script.ask(OF_A_SCRIPT)).reason == "TOKEN_REVOKED"
    assert (await grace.ask(WHO_AM_I)).data["viewer"]["id"] == grace.id


def test_nothing_is_put_back_without_being_asked_for(run: Run, data: Path, file: Path) -> None:
    assert run("restore", str(file), stdin="n\n").exit_code == 1
    assert not data.exists()


async def test_a_backup_of_an_older_version_is_migrated_before_anybody_sees_it(
    open_house: OpenHouse, run: Run, file: Path
) -> None:
    house = await open_house()
    head = revision_of(house.database_file)
    of_revision("0003", file)
    assert "revision 0003" in await done(run, "restore", file, "--yes")
    assert revision_of(house.database_file) == head
    assert revision_of(file) == "0003"
    await house.person("ada")


def spoilt(file: Path, what: str) -> str:
    """Spoil a backup, and return what will be said of it."""
    if what == "newer":
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("UPDATE alembic_version SET version_num = '9999'")
        return "the database is newer than this program"
    if what == "another's":
        file.unlink()
        with closing(sqlite3.connect(file)) as other:
            other.execute("CREATE TABLE users (email TEXT)")
        return "is no database of Watchword's"
    if what == "no database":
        file.write_bytes(b"last week's" * 1_000)
        return "is no database of Watchword's"
    if what == "gone":
        file.unlink()
        return "there is no file"
    bytes_there = bytearray(file.read_bytes())
    if what == "cut off":
        file.write_bytes(bytes_there[: len(bytes_there) // 2])
    else:
        bytes_there[8_192:40_960] = b"\xa5" * 32_768
        file.write_bytes(bytes_there)
    return "damaged"


@pytest.mark.parametrize("what", ["newer", "another's", "no database", "gone", "cut off", "overwritten"])
async def test_what_is_no_sound_backup_is_refused_and_everything_is_as_it_was(
    open_house: OpenHouse, run: Run, data: Path, file: Path, what: str
) -> None:
    house = await open_house()
    ada = await house.person("ada")
    await done(run, "backup", file)
    grace = await house.person("grace")
    before = names_in(data)
    sentence = spoilt(file, what)
    assert sentence in await not_done(run, "restore", file, "--yes")
    assert names_in(data) == before
    assert emails(house.database_file) == {ada.email, grace.email}


async def test_a_backup_that_our_secret_key_does_not_open_is_refused(
    open_house: OpenHouse, run: Run, data: Path, file: Path
) -> None:
    house = await open_house()
    ada = await house.person("ada")
    await done(run, "backup", file)
    await not_done(run, "restore", file, "--yes", secret_key="k" * 40)
    assert kept_in(data) == []
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id


async def test_on_a_new_machine_the_secret_key_comes_first_and_then_the_backup(
    open_house: OpenHouse, run: Run, tmp_path: Path, data: Path, file: Path
) -> None:
    house = await open_house()
    ada = await house.person("ada")
    await done(run, "backup", file)
    there = tmp_path / "new"
    assert f"put it back as {there / 'secret_key'}" in await not_done(runner(there), "restore", file, "--yes")
    assert list(there.iterdir()) == []
    (there / "secret_key").write_text((data / "secret_key").read_text())
    assert "The database before" not in await done(runner(there), "restore", file, "--yes")
    assert sorted(path.name for path in there.iterdir()) == ["secret_key", "watchword.sqlite"]
    assert (there / "watchword.sqlite").stat().st_mode & 0o777 == 0o600
    async with House(there) as moved:
        client = moved.client()
        client.cookies.update(dict(ada.client.cookies))
        assert (await client.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id


async def test_a_database_of_other_pages_is_written_over_too(run: Run, data: Path, file: Path) -> None:
    async with House(data) as house:
        ada = await signed_up(house, "ada")
        await done(run, "backup", file)
        with closing(sqlite3.connect(data / "other.sqlite")) as other:
            other.execute("PRAGMA page_size = 8192")
            other.execute("CREATE TABLE others (id)")
    (data / "other.sqlite").replace(data / "watchword.sqlite")
    await done(run, "restore", file, "--yes")
    assert emails(data / "watchword.sqlite") == {ada}


async def test_somebody_who_writes_without_end_cannot_be_restored_over(
    open_house: OpenHouse, run: Run, data: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.sqlite_restoring._ATTEMPTS", 1)
    monkeypatch.setattr("store.sqlite_restoring._PATIENCE", timedelta(0))
    house = await open_house()
    ada = await house.person("ada")
    await done(run, "backup", file)
    with closing(sqlite3.connect(house.database_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "the write lock was not to be had" in await not_done(run, "restore", file, "--yes")
    assert kept_in(data) == []
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id


def of_revision(revision: str, file: Path) -> None:
    """Make the database of an older version."""
    file.parent.mkdir(exist_ok=True)
    file.touch()
    migrating(SQLiteFile(file), lambda connection: alembic.upgrade(migrate._config(connection, CORE), revision))


def revision_of(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


# --- A crash in the middle of it -------------------------------------------------------------------------------------


def with_marks(file: Path, mark: str) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE marks (mark TEXT, padding TEXT)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO marks VALUES (?, ?)", ((mark, "x" * 500) for _ in range(4_000)))
        connection.execute("COMMIT")


def marks_in(file: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT mark, count(*) FROM marks GROUP BY mark").fetchall()


def put_in_place_once_told(folder: Path, telling: Connection) -> None:
    telling.send("ready")
    put_in_place(folder / "fresh", folder / "live", datetime.now(UTC))


def test_killed_at_any_moment_it_is_the_database_of_before_or_the_one_of_after_and_nothing_between(
    tmp_path: Path,
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    dies = random.Random(SEED)  # noqa: S311 - nobody is kept from guessing it
    found, took = set[str](), 0.0
    for turn in range(ROUNDS_OF_DEATH):
        folder = tmp_path / str(turn)
        folder.mkdir()
        with_marks(folder / "live", "before")
        with_marks(folder / "fresh", "after")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=put_in_place_once_told, args=(folder, theirs))
        process.start()
        assert ours.recv() == "ready"
        began = time.monotonic()
        # The first is let be, to see how long it takes.
        process.join(took * dies.random() if turn else None)
        took = took or time.monotonic() - began
        process.kill()
        process.join()
        ((mark, count),) = marks_in(folder / "live")
        assert count == 4_000
        found.add(mark)
        if mark == "after":
            (kept,) = folder.glob("live.until-*Z")
            assert marks_in(kept) == [("before", 4_000)]
    assert found == {"before", "after"}


# --- A real server, under load ---------------------------------------------------------------------------------------


@dataclass
class SignUps:
    """People who sign up without a pause, and when each was told that it was done."""

    client: Client
    name: str
    asked: dict[str, float] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)
    refused_with: set[str] = field(default_factory=set)
    stopped: bool = False
    awaited: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def go_on(self) -> None:
        while not self.stopped:
            email = f"{self.name}.{len(self.asked)}@example.org"
            self.asked[email] = time.monotonic()
            details = {"email": email, "password": PASSWORD, "displayName": "Ada"}
            answer = await self.client.ask(SIGN_UP, {"input": details})
            if "errors" in answer.body:
                self.refused_with.add(answer.code)
                continue
            assert answer.data["signUp"]["__typename"] == "SignUpSucceeded"
            self.told[email] = time.monotonic()
            if len(self.told) >= self.awaited:
                self.enough.set()

    async def wait_for(self, more: int) -> None:
        """Wait until so many more have been told."""
        self.awaited = len(self.told) + more
        self.enough.clear()
        async with asyncio.timeout(START_SECONDS):
            await self.enough.wait()

    def told_before(self, instant: float) -> set[str]:
        return {email for email, told in self.told.items() if told < instant}

    def asked_after(self, instant: float) -> set[str]:
        return {email for email in self.told if self.asked[email] > instant}

    def longest_wait(self) -> float:
        return max(told - self.asked[email] for email, told in self.told.items())


@asynccontextmanager
async def signing_up(server: Server, name: str) -> AsyncIterator[SignUps]:
    """Have people sign up, one after the other, for as long as the block lasts."""
    async with server.client() as client:
        load = SignUps(client, name)
        task = asyncio.create_task(load.go_on())
        try:
            await load.wait_for(10)
            yield load
            await load.wait_for(10)
        finally:
            load.stopped = True
            await task


async def operated(server: Server, *arguments: str | Path) -> str:
    """Run a command beside a server, as its operator does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", *map(str, arguments)),
        cwd=ROOT,
        env=environment(data_dir=str(server.data_dir)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said
    return said.decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the server that these tests share."""
    with serving(tmp_path_factory.mktemp("backup") / "data") as running:
        yield running


async def test_a_backup_under_load_has_every_sign_up_that_was_acknowledged_before_it_and_nobody_waits(
    server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "backup.sqlite"
    async with signing_up(server, "during") as load:
        began = time.monotonic()
        await operated(server, "backup", file)
        ended = time.monotonic()
    assert load.told_before(began) <= emails(file) <= set(load.asked)
    assert not load.asked_after(ended) & emails(file)
    assert load.refused_with == set()
    assert load.longest_wait() < 2.0  # what a write may wait for the lock


async def test_a_restore_under_load_mixes_nothing_and_the_server_goes_on_by_itself(
    server: Server, tmp_path: Path
) -> None:
    file, pid = tmp_path / "backup.sqlite", server.process.pid
    await operated(server, "backup", file)
    before = emails(file)
    async with signing_up(server, "over") as load:
        began = time.monotonic()
        await operated(server, "restore", file, "--yes")
        ended = time.monotonic()
    (kept,) = kept_in(server.data_dir)
    live, old = emails(server.database_file), emails(kept)
    # Whatever was acknowledged is in the one or in the other: what was before the restore there, what came after here.
    assert live & old == before
    assert set(load.told) <= live | old
    assert load.told_before(began) <= old
    assert load.asked_after(ended) <= live
    assert load.asked_after(ended)
    assert load.refused_with <= {"UNAVAILABLE"}
    assert (server.process.pid, server.process.poll()) == (pid, None)
    assert server.is_ready()


async def test_a_server_whose_file_is_no_database_any_more_follows_the_one_that_is_put_in_its_place(
    tmp_path: Path,
) -> None:
    file = tmp_path / "backup.sqlite"
    with serving(tmp_path / "data") as server:
        async with server.client() as client:
            details = {"email": "ada@example.org", "password": PASSWORD, "displayName": "Ada"}
            await client.ask(SIGN_UP, {"input": details})
            await operated(server, "backup", file)
            await client.ask(SIGN_UP, {"input": {**details, "email": "grace@example.org"}})
            with closing(sqlite3.connect(server.database_file, isolation_level=None)) as other:
                assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
            _overwrite(server.database_file)
            await operated(server, "restore", file, "--yes")
            wait_until(server.is_ready, server.everything)
            assert (await client.log_in("ada@example.org")).data["login"]["__typename"] == "LoginSucceeded"
            await client.ask(SIGN_UP, {"input": {**details, "email": "edsger@example.org"}})
        assert emails(server.database_file) == {"ada@example.org", "edsger@example.org"}
    assert emails(server.database_file) == {"ada@example.org", "edsger@example.org"}
    assert len(kept_in(server.data_dir)) == 1


def _overwrite(file: Path) -> None:
    # In a process of its own: to close a file here would end this process's locks on it.
    program = "import sys; open(sys.argv[1], 'r+b').write(b'nothing that SQLite knows' * 200)"
    subprocess.run([sys.executable, "-c", program, str(file)], check=True)
