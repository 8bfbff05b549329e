"""`/healthz` and `/readyz`, as balancers and service managers ask them: which part is not as it should be."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import asyncpg
from sqlalchemy import bindparam, column, delete, table, update

from store import Statement
from store.migrate import known_revisions
from store.tables import signing_keys
from tests.house import House, OpenHouse

ON_BOTH_ENGINES = True

READY = {"status": "ok", "store": "ok", "migrations": "ok", "keys": "ok"}


_SET_REVISION = Statement(
    update(table("alembic_version", column("version_num"))).values(version_num=bindparam("revision"))
)
_DELETE_KEYS = Statement(delete(signing_keys))


async def health(house: House, path: str = "/readyz") -> tuple[int, dict[str, str]]:
    answer = await house.client().get(path)
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json()


async def test_a_server_is_ready_with_each_of_its_parts(house: House) -> None:
    assert await health(house) == (200, READY)
    assert await health(house, "/healthz") == (200, {"status": "ok"})


async def test_a_database_that_is_gone_takes_readiness_and_not_health(open_house: OpenHouse) -> None:
    house = await open_house()
    await house.auth.database.close()
    parts = {"store": "unavailable", "migrations": "unknown", "keys": "unknown"}
    assert await health(house) == (503, {"status": "unavailable", **parts})
    assert await health(house, "/healthz") == (200, {"status": "ok"})


async def test_a_database_of_an_older_revision_is_behind_and_one_of_a_newer_program_is_not(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    (core, *_) = known_revisions()
    revisions = ((next(iter(core.older)), "behind"), ("made_by_tomorrows_program", "ok"), (core.head, "ok"))
    for revision, expected in revisions:
        async with house.auth.database.transaction() as tx:
            await tx.run(_SET_REVISION, revision=revision)
        status, parts = await health(house)
        assert (parts["store"], parts["migrations"]) == ("ok", expected)
        assert status == (200 if expected == "ok" else 503)
        assert parts["keys"] == ("ok" if expected == "ok" else "unknown")


async def test_without_a_key_to_sign_with_it_is_not_ready(open_house: OpenHouse) -> None:
    house = await open_house()
    async with house.auth.database.transaction() as tx:
        await tx.run(_DELETE_KEYS)
    assert await health(house) == (503, {**READY, "status": "unavailable", "keys": "unavailable"})


async def test_a_server_that_ends_is_not_ready_whatever_its_parts_are(open_house: OpenHouse) -> None:
    house = await open_house()
    house.runtime.ending.set()
    assert await health(house) == (503, {**READY, "status": "ending"})


async def test_a_database_that_hangs_is_not_waited_for_longer_than_the_patience_with_it(
    open_house: OpenHouse, database_for: Callable[[str], dict[str, Any]]
) -> None:
    settings = {**database_for("postgresql"), "database_timeout": timedelta(seconds=1)}
    house = await open_house("hangs", **settings)
    other = await asyncpg.connect(settings["database_url"])
    try:
        async with other.transaction():
            await other.execute("LOCK TABLE signing_keys IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            status, parts = await health(house)
            assert time.monotonic() - began < 4
            assert (status, parts["store"], parts["keys"]) == (503, "ok", "unavailable")
    finally:
        await other.close()
    assert await health(house) == (200, READY)
