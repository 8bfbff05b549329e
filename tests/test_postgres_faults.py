"""PostgreSQL gone, slow, stopped, read-only, full or moved: what was acknowledged holds, and nobody is logged out."""

import asyncio
import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx2
import pytest

import server as application
from installation import assemble
from settings import load_settings
from tests.house import Client
from tests.load import Person, Told, require_nothing_lost, under_load
from tests.postgres import Server as Postgres
from tests.postgres import of_server, postgres_server, run
from tests.running import START_SECONDS, free_port, serving, wait_until

ROUNDS = int(os.environ.get("WATCHWORD_TEST_ROUNDS", "50"))
SEED = 20_260_401  # the moments differ from machine to machine all the same

# As it is set where nothing else is said; what is promised beyond it (docs/postgresql.md); and as much again, for a
# machine that is busy with other tests.
PATIENCE = timedelta(seconds=2)
BOUND = PATIENCE.total_seconds() + 1.0 + 1.0
HEALTHY_AGAIN = 5.0  # after a crash, with what the server does to recover
STOPPED_FOR = 30.0


def moments() -> random.Random:
    return random.Random(SEED)  # noqa: S311 - nobody is kept from guessing them


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """Give a server that keeps what it acknowledges, as it does by default."""
    with postgres_server("max_connections=60", "shared_buffers=64MB") as started:
        yield started


async def status(client: Client, path: str) -> int:
    return (await client.get(path)).status_code


async def becomes_ready(client: Client, within: float) -> None:
    """Return once it is ready; fail when that takes too long."""
    async with asyncio.timeout(within):
        while await status(client, "/readyz") != 200:  # noqa: ASYNC110 - it is another process that is waited for
            await asyncio.sleep(0.02)


def require_quiet(log: str) -> None:
    """Fail if a log tells of anything but what was foreseen."""
    assert "Traceback" not in log
    assert "never retrieved" not in log
    assert "internal_error" not in log


def told_of(log: str, event: str) -> int:
    return log.count(f'"event":"{event}"')


async def test_postgresql_killed_under_load_loses_nothing_that_was_acknowledged_and_logs_nobody_out(
    tmp_path: Path, postgres: Postgres
) -> None:
    when, told = moments(), Told()
    with serving(tmp_path / "data", database_url=postgres.uri) as server:
        async with server.client() as client:
            people = [Person(client, told) for _ in range(6)]
            async with under_load(*people):
                for _ in range(ROUNDS):
                    told.acts = asyncio.Semaphore(0)
                    for _ in range(when.randint(1, 15)):
                        await told.acts.acquire()
                    await asyncio.to_thread(postgres.kill)
                    for person in people:
                        person.is_well.clear()
                    async with asyncio.timeout(BOUND):
                        assert await status(client, "/readyz") == 503
                        assert await status(client, "/healthz") == 200
                    postgres.launch()
                    await becomes_ready(client, within=HEALTHY_AGAIN)
                    for person in people:
                        person.is_well.set()
            await require_nothing_lost(told, client, postgres.uri)
        log = server.logged()
    assert told.slowest < BOUND
    assert told.unavailable >= ROUNDS
    require_quiet(log)
    assert told_of(log, "database_unavailable") == told_of(log, "database_available") == ROUNDS


@pytest.fixture(scope="module")
def forkserver() -> ForkServerContext:
    """Give application processes that start in a moment: what they import was imported once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def serve(data_dir: Path, port: int, database_url: str, log: Path) -> None:
    """Serve as `watchword serve` does."""
    with log.open("ab") as written:
        os.dup2(written.fileno(), 1)
        os.dup2(written.fileno(), 2)
    alike: dict[str, Any] = {
        "data_dir": data_dir,
        "database_url": database_url,
        "public_url": "http://127.0.0.1:8000",
        "password_memory_kib": 8,
        "password_iterations": 1,
        "guesses_per_address": 1_000_000,
        "anonymous_budget": 0,
    }
    application.serve(assemble(load_settings(port=port, **alike)))


@dataclass
class Processes:
    """Application processes over one database, each started while the one before it is at work."""

    context: ForkServerContext
    data_dir: Path
    database_url: str
    log: Path

    def start(self) -> tuple[BaseProcess, Client]:
        port = free_port()
        process = self.context.Process(target=serve, args=(self.data_dir, int(port), self.database_url, self.log))
        process.start()
        return process, Client(base_url=f"http://127.0.0.1:{port}", timeout=30)


async def test_application_processes_killed_under_load_lose_nothing_that_was_acknowledged_and_log_nobody_out(
    tmp_path: Path, postgres: Postgres, forkserver: ForkServerContext
) -> None:
    when, told = moments(), Told()
    run(postgres.uri, "CREATE DATABASE killed")
    uri = of_server(postgres.uri, "killed").uri
    processes = Processes(forkserver, tmp_path / "data", uri, tmp_path / "log")
    process, client = processes.start()
    people = [Person(client, told, may_be_cut_off=True) for _ in range(6)]
    for _ in range(ROUNDS):
        next_process, next_client = processes.start()
        await becomes_served(client)
        async with under_load(*people):
            told.acts = asyncio.Semaphore(0)
            for _ in range(when.randint(1, 25)):
                await told.acts.acquire()
            process.kill()
            await asyncio.to_thread(process.join)
        await client.aclose()
        process, client = next_process, next_client
        for person in people:
            person.client = client
    await becomes_served(client)
    await require_nothing_lost(told, client, uri)
    process.terminate()
    await asyncio.to_thread(process.join)
    await client.aclose()
    assert told.unavailable == 0
    assert told.slowest < BOUND
    require_quiet((tmp_path / "log").read_text())


async def becomes_served(client: Client) -> None:
    """Return once there is a server that is ready."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            with suppress(httpx2.TransportError):
                await becomes_ready(client, within=HEALTHY_AGAIN)
                return
            await asyncio.sleep(0.02)


async def test_a_database_that_stands_still_for_thirty_seconds_is_answered_for_in_time_all_along(
    tmp_path: Path, postgres: Postgres
) -> None:
    told, since = Told(), time.monotonic()
    run(postgres.uri, "CREATE DATABASE frozen")
    uri = of_server(postgres.uri, "frozen").uri
    with serving(tmp_path / "data", database_url=uri) as server:
        async with server.client() as client:
            async with under_load(*(Person(client, told) for _ in range(6))):
                for _ in range(50):
                    await told.acts.acquire()
                postgres.freeze()
                since = time.monotonic()
                try:
                    await asyncio.gather(*(_stays_up(client, since) for _ in range(2)))
                    slowest_meanwhile, told.slowest = told.slowest, 0.0
                finally:
                    postgres.thaw()
                await becomes_ready(client, within=HEALTHY_AGAIN)
                told.acts = asyncio.Semaphore(0)
                for _ in range(50):
                    await told.acts.acquire()
            await require_nothing_lost(told, client, uri)
        log = server.logged()
        wait_until(lambda: _connections(uri) <= 11, lambda: str(_connections(uri)))
    assert slowest_meanwhile < BOUND
    assert told.slowest < BOUND
    require_quiet(log)
    assert told_of(log, "database_unavailable") == told_of(log, "database_available") == 1


async def _stays_up(client: Client, since: float) -> None:
    """Ask how it is for thirty seconds: it is up all the time, and from when that is noticed on it is not ready."""
    while time.monotonic() - since < STOPPED_FOR:
        async with asyncio.timeout(BOUND):
            assert await status(client, "/readyz") == 503
        async with asyncio.timeout(1):
            assert await status(client, "/healthz") == 200
        await asyncio.sleep(0.1)


def _connections(uri: str) -> int:
    """Return how many connections the application has, as the server sees it."""
    ((number,),) = run(
        uri,
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = 'watchword' AND datname = current_database() AND pid <> pg_backend_pid()",
    )
    return int(number)
