"""Upgrades: the next version's migration runs while this version serves, and nothing that was acknowledged is lost."""

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, LargeBinary, MetaData, Table, Text, column, insert, select, table

from store.locations import Location, PostgreSQL, SQLiteFile
from store.migrate import _config, pending, upgrade
from store.migration_connections import looking, migrating
from store.namespaces import CORE
from store.tables import users
from tests.house import PASSWORD, SIGN_UP, WHO_AM_I, Answer, Client
from tests.postgres import Postgres
from tests.running import ROOT, Server, environment, serving
from tests.test_expand import faults

on_both_engines = pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"])

SCRIPTS = ScriptDirectory(str(CORE.folder.parent), version_locations=[str(CORE.folder)])
HEAD = SCRIPTS.get_current_head() or ""
LONGEST_SECONDS = 5.0  # twice what a request may wait for the database, however busy the machine is
ID = "019b76da-a800-7000-8000-000000000001"

LOG_IN = "mutation($input: LoginInput!) { login(input: $input) { ... on LoginSucceeded { accessToken refreshToken } } }"
REFRESH = """
mutation($input: RefreshInput!) { refresh(input: $input) { ... on RefreshSucceeded { accessToken refreshToken } } }
"""
LOG_OUT = "mutation { logout { sessionEnded } }"

# All that a migration may do, to the tables that every request reads.
NEXT = '''
"""The next version's."""

import sqlalchemy as sa
from alembic import op
from store.tables import Id

revision = "9999"
down_revision = "HEAD"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("colour", sa.Text, nullable=True))
    op.add_column("sessions", sa.Column("visits", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("users", sa.Column("nickname", sa.Text, nullable=True))
    op.execute("UPDATE users SET nickname = display_name")
    op.create_index("ix_sessions_created_at", "sessions", ["created_at"])
    op.create_table(
        "colours",
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    )
'''


@pytest.fixture
def location(engine_name: str, tmp_path: Path, request: pytest.FixtureRequest) -> Location:
    if engine_name == "sqlite":
        return SQLiteFile(tmp_path / "watchword.sqlite")
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.database(empty=True)


# --- From every version there was ------------------------------------------------------------------------------------


def a_row_of(table: Table) -> dict[str, Any]:
    """Return values for every column, so that each row refers to the one of the table before."""

    def value(name: str, kind: object) -> object:
        if name == "id" or name.endswith("_id"):
            return ID
        if isinstance(kind, LargeBinary):
            return name.encode()
        return f"{table.name} {name}" if isinstance(kind, Text) else 7

    return {column.name: value(column.name, column.type) for column in table.columns}


def reflected(connection: Connection) -> MetaData:
    found = MetaData()
    found.reflect(connection)
    return found


@on_both_engines
def test_rows_of_every_version_are_found_after_the_migrations_that_came_since(location: Location) -> None:
    if isinstance(location, SQLiteFile):
        location.path.touch()
    written: dict[str, dict[str, Any]] = {}

    def step(connection: Connection, revision: str) -> None:
        command.upgrade(_config(connection, CORE), revision)
        for made in reflected(connection).sorted_tables:
            if made.name not in {*written, CORE.version_table}:
                written[made.name] = a_row_of(made)
                connection.execute(insert(made), written[made.name])

    for script in reversed([*SCRIPTS.walk_revisions()]):
        migrating(location, lambda connection, revision=script.revision: step(connection, revision))  # type: ignore[misc]

    def found(connection: Connection) -> dict[str, dict[str, Any]]:
        return {
            name: {key: _plain(value) for key, value in connection.execute(_select(name, row)).mappings().one().items()}
            for name, row in written.items()
        }

    assert pending(location) == []
    assert looking(location, found) == written


def _select(name: str, row: dict[str, Any]) -> Any:
    return select(*(column(key) for key in row)).select_from(table(name))


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, bytes, int, type(None))) else str(value)


# --- To the next version, under way ----------------------------------------------------------------------------------


@dataclass
class Acknowledged:
    """What clients were told, and so may count on."""

    emails: list[str] = field(default_factory=list)
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    unavailable: int = 0
    longest: float = 0.0

    def latest(self) -> "Acknowledged":
        """Return the end of what they were told."""
        return Acknowledged(self.emails[-8:], dict([*self.refresh_tokens.items()][-8:]), self.ended[-8:])


class Unavailable(Exception):
    """The one refusal that there may be."""


async def ask(client: Client, told: Acknowledged, query: str, values: Any = None, **headers: str) -> Answer:
    begun = time.monotonic()
    answer = await client.ask(query, values, **headers)
    told.longest = max(told.longest, time.monotonic() - begun)
    if "errors" in answer.body:
        assert {error["extensions"]["code"] for error in answer.body["errors"]} == {"UNAVAILABLE"}, answer.body
        told.unavailable += 1
        raise Unavailable
    return answer


async def live(server: Server, name: str, told: Acknowledged, stop: asyncio.Event) -> None:
    """Sign up, log in, refresh and log out again, until it is time to stop."""
    number = 0
    async with server.client() as client:
        while not stop.is_set():
            number += 1
            email = f"{name}.{number}@example.org"
            try:
                details = {"email": email, "password": PASSWORD, "displayName": name}
                await ask(client, told, SIGN_UP, {"input": details})
                told.emails.append(email)
                logging_in = {"input": {"email": email, "password": PASSWORD, "delivery": "BODY"}}
                login = (await ask(client, told, LOG_IN, logging_in)).data["login"]
                told.refresh_tokens[email] = login["refreshToken"]
                refreshing = {"input": {"refreshToken": login["refreshToken"]}}
                pair = (await ask(client, told, REFRESH, refreshing)).data["refresh"]
                told.refresh_tokens[email] = pair["refreshToken"]
                bearer = {"Authorization": f"Bearer {pair['accessToken']}"}
                await ask(client, told, WHO_AM_I, **bearer)
                if number % 2:
                    await ask(client, told, LOG_OUT, **bearer)
                    del told.refresh_tokens[email]
                    told.ended.append(pair["accessToken"])
            except Unavailable:
                continue


async def require_nothing_lost(server: Server, told: Acknowledged) -> None:
    async with server.client() as client:
        logging_in = {"input": {"email": told.emails[-1], "password": PASSWORD, "delivery": "BODY"}}
        assert (await client.ask(LOG_IN, logging_in)).data["login"]["accessToken"]
        for email, token in told.refresh_tokens.items():
            pair = (await client.ask(REFRESH, {"input": {"refreshToken": token}})).data["refresh"]
            told.refresh_tokens[email] = pair["refreshToken"]
        for token in told.ended:
            answer = await client.ask(WHO_AM_I, Authorization=f"Bearer {token}")
            assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "SESSION_REVOKED")


def signed_up(location: Location) -> set[str]:
    return looking(location, lambda connection: set(connection.execute(select(users.c.email)).scalars()))


@pytest.fixture(scope="module")
def next_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with this program and one migration more."""
    folder = tmp_path_factory.mktemp("next")
    for name in ("auth", "schema", "store", "web"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("*.py"):
        shutil.copy(path, folder)
    (folder / "store/migrations/versions/9999_next.py").write_text(NEXT.replace("HEAD", HEAD))
    return folder


def settings_of(location: Location) -> dict[str, str]:
    url = location.uri if isinstance(location, PostgreSQL) else f"sqlite:///{location.path}"
    return {"database_url": url, "public_url": "http://127.0.0.1:8000"}


async def migrate(program: Path, data_dir: Path, location: Location) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "migrate"),
        cwd=program,
        env=environment(data_dir=str(data_dir), **settings_of(location)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said
    return said.decode()


@asynccontextmanager
async def lived_in(server: Server, told: Acknowledged) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Let people go in and out for as long as the block goes on; it is given what waits for a few more of them."""
    stop = asyncio.Event()
    people = [asyncio.create_task(live(server, f"person{number}", told, stop)) for number in range(2)]

    async def a_few_more() -> None:
        enough = len(told.emails) + 4
        while len(told.emails) < enough:
            done, _ = await asyncio.wait(people, timeout=0.05)
            assert not [task.result() for task in done]

    try:
        yield a_few_more
    finally:
        stop.set()
        await asyncio.gather(*people, return_exceptions=True)
    assert not [task.result() for task in people if task.result()]


@on_both_engines
async def test_the_next_versions_migration_runs_while_this_one_serves_and_nothing_is_lost(
    location: Location, tmp_path: Path, next_version: Path
) -> None:
    upgrade(location)
    told = Acknowledged()
    with serving(tmp_path / "data", **settings_of(location)) as old:
        async with lived_in(old, told) as a_few_more:
            await a_few_more()
            before = len(told.emails)
            assert await migrate(next_version, tmp_path / "data", location) == f"core: {HEAD} -> 9999\n"
            assert len(told.emails) > before  # people went in and out while the other process was at work
            await a_few_more()
        assert told.longest < LONGEST_SECONDS
        assert old.is_ready()  # a database that is ahead is no reason to take no requests
        with serving(tmp_path / "data", None, next_version, **settings_of(location)) as new:
            await require_nothing_lost(new, told)
            await require_nothing_lost(old, told.latest())
    assert set(told.emails) <= signed_up(location)
    assert told.ended
    assert told.refresh_tokens


def test_what_the_next_versions_migration_does_is_what_a_migration_may_do() -> None:
    assert faults(NEXT) == []
