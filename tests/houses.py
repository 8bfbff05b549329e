"""The personas and the houses they call at. `ada` is a user, `grace` an administrator, `nobody` has no credential."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from store.locations import PostgreSQL
from tests.house import Client, House, OpenHouse, Person
from tests.postgres import GIVEN, QUICK, Postgres, postgres_server, prepared


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test of a module that says `ON_BOTH_ENGINES = True` on SQLite and on PostgreSQL."""
    if "engine_name" in metafunc.fixturenames and getattr(metafunc.module, "ON_BOTH_ENGINES", False):
        metafunc.parametrize("engine_name", ["sqlite", "postgresql"], scope="session")


@pytest.fixture(scope="session")
def engine_name() -> str:
    """Name the engine that houses stand on."""
    return "sqlite"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Give databases on a PostgreSQL server of this process's own, or on the one that is given."""
    given = os.environ.get(GIVEN)
    if given:
        yield prepared(given)
        return
    with postgres_server(*QUICK) as server:
        yield prepared(server.uri)


@pytest.fixture(scope="session")
def database_for(request: pytest.FixtureRequest) -> Callable[[str], dict[str, Any]]:
    """Return the settings that put a new house on an engine."""

    def settings(engine_name: str) -> dict[str, Any]:
        if engine_name == "sqlite":
            return {}
        made: Postgres = request.getfixturevalue("postgres")
        # Many times what it takes: who tests what is broken, or slow, says so.
        return {"database_url": made.database().uri, "database_timeout": "10"}

    return settings


@pytest.fixture(scope="session")
def give_back(request: pytest.FixtureRequest) -> Callable[[Iterable[dict[str, Any]]], None]:
    """Take databases back, for which nobody has a house any more."""

    def take(databases: Iterable[dict[str, Any]]) -> None:
        for settings in databases:
            if "database_url" in settings:
                made: Postgres = request.getfixturevalue("postgres")
                made.give_back(PostgreSQL(settings["database_url"]))

    return take


@pytest.fixture(scope="session")
async def shared_houses(
    tmp_path_factory: pytest.TempPathFactory, database_for: Callable[[str], dict[str, Any]]
) -> AsyncIterator[Callable[[str], Awaitable[House]]]:
    """Keep one house on each engine, for all tests that can share it."""
    houses: dict[str, House] = {}
    async with AsyncExitStack() as stack:

        async def on(engine_name: str) -> House:
            if engine_name not in houses:
                # Tests that share it read what all of them have left behind, and would use an ordinary budget up.
                arguments: dict[str, Any] = {**database_for(engine_name), "budget": 10_000_000}
                new = House(tmp_path_factory.mktemp("house"), **arguments)
                houses[engine_name] = await stack.enter_async_context(new)
            return houses[engine_name]

        yield on


@pytest.fixture(scope="session")
async def house(engine_name: str, shared_houses: Callable[[str], Awaitable[House]]) -> House:
    """Share one house among the tests; whoever needs it empty, or otherwise set, opens their own."""
    return await shared_houses(engine_name)


@pytest.fixture
async def open_house(
    engine_name: str,
    tmp_path: Path,
    database_for: Callable[[str], dict[str, Any]],
    give_back: Callable[[Iterable[dict[str, Any]]], None],
) -> AsyncIterator[OpenHouse]:
    """Give a test houses of its own: it says with which domains and settings. Of one name, they share a database.

    `ahead` is how far the clock of one is ahead when it opens.
    """
    databases: dict[str, dict[str, Any]] = {}
    async with AsyncExitStack() as stack:

        async def open_one(name: str = "own", *, ahead: timedelta = timedelta(), **arguments: Any) -> House:
            if name not in databases:
                databases[name] = database_for(engine_name)
            house = House(tmp_path / name, **databases[name] | arguments)
            house.clock.move(ahead)
            return await stack.enter_async_context(house)

        yield open_one
    give_back(databases.values())


@pytest.fixture
def impatient(engine_name: str) -> timedelta:
    """Say for how long a house is to wait whose database somebody holds: it costs the test as much.

    A server and its client have more to do in it than a library has that opens a file, on a machine that is busy.
    """
    return timedelta(milliseconds={"sqlite": 50, "postgresql": 400}[engine_name])


@pytest.fixture
def nobody(house: House) -> Client:
    return house.client()


@pytest.fixture
async def ada(house: House) -> Person:
    return await house.person("ada")


@pytest.fixture
async def grace(house: House) -> Person:
    return await house.person("grace", administrator=True)
