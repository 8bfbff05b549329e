"""Backups of a SQLite database and their way back, while servers go on: nothing acknowledged is lost, nothing mixed."""

import asyncio
import multiprocessing
import random
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from store import fence, migrate
from store.locations import SQLiteFile
from store.namespaces import CORE, Namespace
from store.writing_over import write_over
from tests.commands import Run, refused, runner, succeeded
from tests.house import PASSWORD, SIGN_UP, WHO_AM_I, Client, OpenHouse
from tests.running import Server, serving
from tests.test_api_tokens import make, show

SEED = 20_261_124  # the moments differ from machine to machine all the same
ROUNDS_OF_DEATH = 8
MARKS = 4_000

GRACE = ("users", "create", "--email", "grace@example.org", "--name", "Grace", "--password-stdin")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "own"


@pytest.fixture
def run(data: Path) -> Run:
    """Run a command on an installation of the test's own."""
    return runner(data)


def people(file: Path) -> set[str]:
    """Return who has an account in a database, having looked whether it is whole."""
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return {email for (email,) in connection.execute("SELECT email FROM users")}


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def backups_leftovers(folder: Path) -> list[Path]:
    return [*folder.glob("backup.sqlite?*"), *folder.glob(".backup*")]


def kept_by(said: str) -> Path:
    (line,) = [line for line in said.splitlines() if "is kept: " in line]
    return Path(line.partition("is kept: ")[2])


async def has_account(client: Client, email: str) -> bool:
    answer = await client.ask(SIGN_UP, {"input": {"email": email, "password": PASSWORD, "displayName": "Somebody"}})
    if answer.body.get("errors"):
        assert answer.code == "UNAVAILABLE", answer.body
        return False
    return bool(answer.data["signUp"]["__typename"] == "SignUpSucceeded")


class Crowd:
    """People who sign up one after the other, and what they were told."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self._one_more = asyncio.Event()

    async def sign_up(self, server: Server, name: str) -> None:
        async with server.client() as client:
            number = 0
            while True:
                number += 1
                email = f"{name}.{number}@example.org"
                if await has_account(client, email):
                    self.acknowledged.append(email)
                    self._one_more.set()

    async def grow(self, by: int) -> None:
        """Return when so many more have been told that they have an account."""
        wanted = len(self.acknowledged) + by
        async with asyncio.timeout(20):
            while len(self.acknowledged) < wanted:
                self._one_more.clear()
                await self._one_more.wait()


@asynccontextmanager
async def crowd(server: Server, *names: str) -> AsyncIterator[Crowd]:
    gathered = Crowd()
    tasks = [asyncio.create_task(gathered.sign_up(server, name)) for name in names]
    try:
        yield gathered
        assert not [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_backup_and_a_restore_under_sign_ups_lose_nothing_that_was_acknowledged_and_mix_nothing(
    tmp_path: Path, run: Run, data: Path
) -> None:
    backup = tmp_path / "backup.sqlite"
    with serving(data) as server:
        async with server.client() as mary, server.client() as late:
            assert await has_account(mary, "mary@example.org")
            await mary.log_in("mary@example.org")
            async with crowd(server, "ada", "edsger", "barbara") as before:
                await before.grow(5)
                told = set(before.acknowledged)
                succeeded(await asyncio.to_thread(run, "backup", str(backup)))
                await before.grow(5)
            assert not backups_leftovers(tmp_path)
            in_backup = people(backup)
            assert told | {"mary@example.org"} <= in_backup
            assert await has_account(late, "late@example.org")
            await late.log_in("late@example.org")

            async with crowd(server, "alan", "donald", "jean") as during:
                await during.grow(5)
                told = set(during.acknowledged)
                said = succeeded(await asyncio.to_thread(run, "restore", "--yes", str(backup)))
                async with asyncio.timeout(5):  # it takes one second, and this machine is busy
                    while "errors" not in (answer := await late.ask(WHO_AM_I)).body:
                        # Of two reads of one request, the first may have been the last one of the old database.
                        user = answer.data["viewer"]["user"]
                        assert user is None or user["email"] == "late@example.org"
                assert answer.reason == "SESSION_UNKNOWN"
                await during.grow(5)
            new, kept = people(server.database_file), people(kept_by(said))
            after = new - in_backup

            assert in_backup <= new
            assert not new & (set(before.acknowledged) - in_backup)
            assert len(after - set(during.acknowledged)) <= 3  # those who went away before they heard of it
            assert after & set(during.acknowledged)
            assert told <= kept
            assert {"late@example.org", *before.acknowledged} <= kept
            assert "late@example.org" not in new
            for email in during.acknowledged:
                assert email in new or email in kept, f"{email} was acknowledged and is lost"
            assert (await mary.ask(WHO_AM_I)).data["viewer"]["user"]["email"] == "mary@example.org"
            assert (await late.log_in("late@example.org")).data["login"]["__typename"] == "LoginFailed"
            assert (await late.log_in("mary@example.org")).data["login"]["__typename"] == "LoginSucceeded"
            assert server.is_ready()


async def test_what_was_revoked_since_lives_again_with_a_backup_unless_it_is_ended_and_the_kept_one_can_come_back(
    tmp_path: Path, run: Run, open_house: OpenHouse
) -> None:
    backup = tmp_path / "backup.sqlite"
    house = await open_house("own")
    ada = await house.person("ada")
    token = (await make(ada)).token
    succeeded(await asyncio.to_thread(run, "backup", str(backup)))
    grace = await house.person("grace")

    said = succeeded(await asyncio.to_thread(run, "restore", "--yes", "--end-sessions", "--revoke-tokens", str(backup)))
    assert "Sessions ended: 1." in said
    assert "API tokens revoked: 1." in said
    await house.auth.database.ping()  # it looks at the file now, and not within a second
    assert (await ada.ask(WHO_AM_I)).reason == "SESSION_REVOKED"
    assert (await show(house, token)).reason == "TOKEN_REVOKED"
    assert (await grace.ask(WHO_AM_I)).reason == "SESSION_UNKNOWN"
    again = house.client()
    assert (await again.log_in(ada.email)).data["login"]["__typename"] == "LoginSucceeded"

    back = succeeded(await asyncio.to_thread(run, "restore", "--yes", str(kept_by(said))))
    assert "live again; --end-sessions" in back
    assert "good again; --revoke-tokens" in back
    await house.auth.database.ping()
    for person in (ada, grace):
        assert (await person.ask(WHO_AM_I)).data["viewer"]["user"]["email"] == person.email
    assert "errors" not in (await show(house, token)).body
    assert (await again.ask(WHO_AM_I)).reason == "SESSION_UNKNOWN"
    assert people(kept_by(back)) == {ada.email}


def test_a_backup_is_for_its_owners_eyes_and_says_where_the_secret_key_is(run: Run, data: Path, tmp_path: Path) -> None:
    succeeded(run(*GRACE, stdin=PASSWORD))
    backup = tmp_path / "backup.sqlite"
    said = succeeded(run("backup", str(backup)))
    assert mode(backup) == 0o600
    assert people(backup) == {"grace@example.org"}
    assert f"{backup}: {backup.stat().st_size} bytes" in said
    assert f"The secret key is not in it; it stands in {data / 'secret_key'}." in said
    assert (data / "secret_key").read_text().strip() not in said
    other = run("backup", str(tmp_path / "other.sqlite"), secret_key="k" * 40)
    assert "it stands in WATCHWORD_SECRET_KEY." in succeeded(other)


def test_a_backup_overwrites_nothing_unless_it_is_told_to_and_never_the_database(
    run: Run, data: Path, tmp_path: Path
) -> None:
    succeeded(run(*GRACE, stdin=PASSWORD))
    there = tmp_path / "there"
    there.write_text("something of somebody's")
    before = everything(tmp_path)
    assert "exists already" in refused(run("backup", str(there)))
    for database in (data / "watchword.sqlite", data / ".." / "own" / "watchword.sqlite"):
        assert "is the database itself" in refused(run("backup", "--force", str(database)))
    assert "is not a file" in refused(run("backup", "--force", str(data)))
    assert "there is no folder" in refused(run("backup", str(tmp_path / "nowhere" / "backup.sqlite")))
    (tmp_path / "open-wal").write_text("")
    assert "open-wal is there" in refused(run("backup", str(tmp_path / "open")))
    (tmp_path / "open-wal").unlink()
    assert everything(tmp_path) == before
    succeeded(run("backup", "--force", str(there)))
    assert people(there) == {"grace@example.org"}
    assert mode(there) == 0o600


def test_a_damaged_database_makes_no_backup_and_a_missing_one_is_not_made(run: Run, data: Path, tmp_path: Path) -> None:
    assert "there is no database file" in refused(run("backup", str(tmp_path / "backup.sqlite")))
    assert not data.exists()
    succeeded(run("migrate"))
    file = data / "watchword.sqlite"
    file.write_bytes(file.read_bytes()[:8_192])
    assert "SQLITE_CORRUPT" in refused(run("backup", str(tmp_path / "backup.sqlite")))
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_a_backup_is_restored_where_there_is_no_database_or_one_that_is_beyond_use(
    run: Run, data: Path, tmp_path: Path
) -> None:
    backup, file = tmp_path / "backup.sqlite", data / "watchword.sqlite"
    succeeded(run(*GRACE, stdin=PASSWORD))
    succeeded(run("backup", str(backup)))
    file.unlink()
    assert "is kept" not in succeeded(run("restore", "--yes", str(backup)))
    assert people(file) == {"grace@example.org"}
    assert mode(file) == 0o600
    file.write_bytes(b"beyond use")
    (data / "watchword.sqlite-wal").write_bytes(b"its log")
    kept = kept_by(succeeded(run("restore", "--yes", str(backup))))
    assert people(file) == {"grace@example.org"}
    assert kept.read_bytes() == b"beyond use"
    assert not (data / "watchword.sqlite-wal").exists()


def test_on_a_new_machine_the_secret_key_comes_first_and_has_to_be_the_one_of_the_backup(
    run: Run, data: Path, tmp_path: Path
) -> None:
    backup, there = tmp_path / "backup.sqlite", tmp_path / "there"
    succeeded(run(*GRACE, stdin=PASSWORD))
    succeeded(run("backup", str(backup)))
    elsewhere = runner(there)
    assert f"put the one back that the backup was made under, as {there / 'secret_key'}" in refused(
        elsewhere("restore", "--yes", str(backup))
    )
    assert "is not the one under which" in refused(elsewhere("restore", "--yes", str(backup), secret_key="k" * 40))
    assert list(there.iterdir()) == []  # nor a secret key of its own, that opens nothing
    (there / "secret_key").write_bytes((data / "secret_key").read_bytes())
    succeeded(elsewhere("restore", "--yes", str(backup)))
    assert people(there / "watchword.sqlite") == {"grace@example.org"}


async def test_it_is_on_the_record_that_a_backup_was_put_back(tmp_path: Path, run: Run, open_house: OpenHouse) -> None:
    house = await open_house("own")
    grace = await house.person("grace", administrator=True)
    succeeded(await asyncio.to_thread(run, "backup", str(tmp_path / "backup.sqlite")))
    succeeded(await asyncio.to_thread(run, "restore", "--yes", str(tmp_path / "backup.sqlite")))
    answer = await grace.ask("{ auditEvents(first: 1) { nodes { action actorId message } } }")
    assert answer.data["auditEvents"]["nodes"] == [
        {
            "action": "DATABASE_RESTORE",
            "actorId": None,
            "message": "A backup was put in the place of the database.",
        }
    ]


def test_a_restore_asks_first(run: Run, data: Path, tmp_path: Path) -> None:
    succeeded(run("migrate"))
    succeeded(run("backup", str(tmp_path / "backup.sqlite")))
    before = everything(data)
    assert run("restore", str(tmp_path / "backup.sqlite"), stdin="n\n").exit_code == 1
    assert everything(data) == before
    assert run("restore", str(tmp_path / "backup.sqlite"), stdin="y\n").exit_code == 0
    assert everything(data) != before


def test_a_backup_of_an_older_revision_is_migrated_and_itself_left_as_it_is(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tmp_path / "older"
    shutil.copytree(CORE.folder, older, ignore=lambda _, names: [name for name in names if name[:4] > "0003"])
    backup = tmp_path / "backup.sqlite"
    with monkeypatch.context() as patched:
        core = Namespace("core", older)
        for module in (migrate, fence):
            patched.setattr(module, "CORE", core)
        migrate.upgrade(SQLiteFile(backup))
    content = backup.read_bytes()
    said = succeeded(run("restore", "--yes", str(backup)))
    assert "core: 0003 -> 0005\n" in said
    assert migrate.pending(SQLiteFile(data / "watchword.sqlite")) == []
    assert backup.read_bytes() == content
    assert not backups_leftovers(tmp_path)


@pytest.fixture
def damaged_backups(run: Run, tmp_path: Path) -> dict[str, Path]:
    """Return files that are no backups, by what is said of them."""
    succeeded(run(*GRACE, stdin=PASSWORD))
    whole = tmp_path / "whole.sqlite"
    succeeded(run("backup", str(whole)))
    content = whole.read_bytes()
    files = {
        "there is no file": tmp_path / "missing",
        "no database": tmp_path / "junk",
        "but not one of Watchword's": tmp_path / "foreign",
        "the database is newer than this program": tmp_path / "newer",
        "is damaged": tmp_path / "truncated",
        "damaged": tmp_path / "torn",
        "not one of": tmp_path / "empty",
    }
    files["no database"].write_bytes(b"not a database, by far" * 100)
    files["is damaged"].write_bytes(content[: len(content) // 2])
    torn = bytearray(content)
    torn[8_192:40_960] = b"\xa5" * (40_960 - 8_192)
    files["damaged"].write_bytes(torn)
    files["not one of"].touch()
    files["the database is newer than this program"].write_bytes(content)
    with closing(sqlite3.connect(files["the database is newer than this program"])) as newer, newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
    with closing(sqlite3.connect(files["but not one of Watchword's"])) as foreign, foreign:
        foreign.execute("CREATE TABLE recipes (name TEXT)")
    return files


def test_what_is_newer_or_no_backup_is_refused_and_nothing_is_touched(
    run: Run, tmp_path: Path, data: Path, damaged_backups: dict[str, Path]
) -> None:
    before = everything(tmp_path)
    for says, file in damaged_backups.items():
        assert says in refused(run("restore", "--yes", str(file))), file
    journal = tmp_path / "whole.sqlite-journal"
    journal.write_bytes(b"what has to be taken back")
    assert "is unfinished" in refused(run("restore", "--yes", str(tmp_path / "whole.sqlite")))
    journal.unlink()
    assert "is the database itself" in refused(run("restore", "--yes", str(data / "watchword.sqlite")))
    assert everything(tmp_path) == before


def test_a_restore_waits_for_who_writes_and_gives_up_in_time(run: Run, data: Path, tmp_path: Path) -> None:
    succeeded(run(*GRACE, stdin=PASSWORD))
    backup = tmp_path / "backup.sqlite"
    succeeded(run("backup", str(backup)))
    with closing(sqlite3.connect(data / "watchword.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE users SET display_name = 'Amazing Grace'")
        names = {path.name for path in data.iterdir()}
        said = refused(run("restore", "--yes", str(backup), database_timeout="1"))
        assert "nothing was touched" in said
        assert {path.name for path in data.iterdir()} == names
        other.execute("COMMIT")
        kept = kept_by(succeeded(run("restore", "--yes", str(backup))))
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT display_name FROM users").fetchall() == [("Amazing Grace",)]


def test_two_restores_in_one_second_keep_both_databases(run: Run, data: Path, tmp_path: Path) -> None:
    succeeded(run("migrate"))
    backup = tmp_path / "backup.sqlite"
    succeeded(run("backup", str(backup)))
    kept = {kept_by(succeeded(run("restore", "--yes", str(backup)))) for _ in range(3)}
    assert len(kept) == 3
    assert all(path.is_file() for path in kept)
    databases = {path.name for path in data.iterdir()} - {"secret_key"}
    assert databases == {"watchword.sqlite", *(path.name for path in kept)}


@pytest.mark.parametrize("command", [("backup",), ("restore", "--yes")])
def test_on_postgresql_both_say_whose_business_it_is(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    url = "postgresql://watchword:hidden@127.0.0.1:1/watchword"
    said = refused(run(*command, str(tmp_path / "file"), database_url=url))
    for word in ("pg_dump", "pg_restore", "point-in-time recovery"):
        assert word in said
    assert "hidden" not in said
    assert list(tmp_path.iterdir()) == []


def make_marks(file: Path, mark: str) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE marks (mark TEXT, padding TEXT)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO marks VALUES (?, ?)", ((mark, "x" * 500) for _ in range(MARKS)))
        connection.execute("COMMIT")


def marks_in(file: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT mark, count(*) FROM marks GROUP BY mark").fetchall()


def write_over_once_told(folder: Path, telling: Connection) -> None:
    telling.send("ready")
    write_over(folder / "fresh", folder / "live", folder / "kept", timedelta(seconds=5))


def test_a_restore_killed_at_any_moment_leaves_the_database_before_or_the_one_after_and_nothing_between(
    tmp_path: Path,
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    dies = random.Random(SEED)  # noqa: S311 - nobody is kept from guessing it
    found, took = set[str](), 0.0
    for turn in range(ROUNDS_OF_DEATH):
        folder = tmp_path / str(turn)
        folder.mkdir()
        make_marks(folder / "live", "before")
        make_marks(folder / "fresh", "after")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=write_over_once_told, args=(folder, theirs))
        process.start()
        assert ours.recv() == "ready"
        began = time.monotonic()
        process.join(took * dies.random() if turn else None)  # the first is let be, to see how long it takes
        took = took or time.monotonic() - began
        process.kill()
        process.join()
        ((mark, count),) = marks_in(folder / "live")
        assert count == MARKS
        assert mark == "before" or marks_in(folder / "kept") == [("before", MARKS)]
        found.add(mark)
    assert found == {"before", "after"}


def test_a_database_of_other_pages_is_written_over_too(run: Run, data: Path, tmp_path: Path) -> None:
    backup, file = tmp_path / "backup.sqlite", data / "watchword.sqlite"
    succeeded(run(*GRACE, stdin=PASSWORD))
    succeeded(run("backup", str(backup)))
    file.unlink()
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA page_size = 8192")
        other.execute("CREATE TABLE others (id INTEGER)")
    inode = file.stat().st_ino
    succeeded(run("restore", "--yes", str(backup)))
    assert people(file) == {"grace@example.org"}
    assert file.stat().st_ino == inode
