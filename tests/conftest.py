"""The personas and the houses they call at. `ada` is a user, `grace` an administrator, `nobody` has no credential."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.house import Client, House, OpenHouse, Person


@pytest.fixture(scope="session")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Share one house among the tests; whoever needs it empty, or otherwise set, opens their own."""
    async with House(tmp_path_factory.mktemp("house")) as opened:
        yield opened


@pytest.fixture
async def open_house(tmp_path: Path) -> AsyncIterator[OpenHouse]:
    """Give a test houses of its own: it says with which domains and settings."""
    async with AsyncExitStack() as stack:

        async def open_one(name: str = "own", **arguments: Any) -> House:
            return await stack.enter_async_context(House(tmp_path / name, **arguments))

        yield open_one


@pytest.fixture
def nobody(house: House) -> Client:
    return house.client()


@pytest.fixture
async def ada(house: House) -> Person:
    return await house.person("ada")


@pytest.fixture
async def grace(house: House) -> Person:
    return await house.person("grace", administrator=True)
