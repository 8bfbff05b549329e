"""Kill -9 at any moment of a refresh or a rotation: what was acknowledged holds, and every key has its private half."""

import asyncio
import multiprocessing
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import httpx2
import pytest

import store.signing_keys
from auth.gate import Credential
from auth.key_ring import open_key
from auth.key_states import KeyState
from auth.origin import NOWHERE
from auth.scopes import ADMIN, USER
from auth.sealing import Sealer
from auth.secret import Secret
from installation import Installation, assemble
from settings import load_settings
from tests.house import PASSWORD, SIGN_UP, Client
from tests.load import LOG_IN, REFRESH
from tests.running import ROOT, START_SECONDS, environment, serving

SEED = 20_260_301  # the moments differ from machine to machine all the same
ROUNDS = 21  # of each of the two children; with those of the command and of the server they are fifty
ROUNDS_OF_COMMANDS = 4
ROUNDS_OF_SERVERS = 4


@dataclass
class Acknowledged:
    """What clients were told, and so may count on."""

    refresh_token: str
    access_tokens: list[str] = field(default_factory=list)


def installed(data_dir: Path) -> Installation:
    """Return the installation of a folder, with its database prepared."""
    installation = assemble(load_settings(data_dir=data_dir, password_memory_kib=8, password_iterations=1))
    installation.prepare_database()
    return installation


async def begin(data_dir: Path) -> Acknowledged:
    """Make somebody, and log them in as a native client does."""
    async with installed(data_dir).open_auth() as auth:
        roles = frozenset({USER, ADMIN})
        await auth.users.create(email="ada@example.org", password=PASSWORD, display_name="Ada", roles=roles)
        started = await auth.login.log_in("ada@example.org", PASSWORD, NOWHERE)
        assert started is not None
        return Acknowledged(started.refresh_token.reveal(), [started.grant.access_token.reveal()])


async def require_nothing_lost(data_dir: Path, told: Acknowledged) -> None:
    """Open what a crash left, as the next start does, and go on with what was acknowledged."""
    installation = installed(data_dir)
    async with installation.open_auth() as auth:
        rows = await store.signing_keys.load_all(auth.database)
        opened = {open_key(row, Sealer(installation.secret_keys())).kid for row in rows}
        states = [key.state for key in await auth.key_ring.standings()]
        assert opened == {row.kid for row in rows}
        assert states.count(KeyState.CURRENT) == 1
        assert states.count(KeyState.NEXT) in {1, 2}  # the next one, and perhaps one that waits for its turn
        for token in told.access_tokens:
            assert (await auth.gate.authenticate(Credential(Secret(token)))).identity.subject is not None
        refreshed = await auth.renewal.refresh(Secret(told.refresh_token), NOWHERE)
        told.refresh_token = refreshed.refresh_token.reveal()
        told.access_tokens.append(refreshed.grant.access_token.reveal())


def grow_old(data_dir: Path, *, seconds: int) -> None:
    """Let time pass for the keys alone."""
    with closing(sqlite3.connect(data_dir / "watchword.sqlite", isolation_level=None)) as database:
        database.execute(
            "UPDATE signing_keys SET created_at = created_at - :by, signs_from = signs_from - :by", {"by": seconds}
        )


def refresh_without_end(data_dir: Path, refresh_token: str, told: Connection) -> None:
    """Refresh again and again, and tell each pair of tokens once it is there, as an answer does."""

    async def run() -> None:
        token = Secret(refresh_token)
        async with installed(data_dir).open_auth() as auth:
            told.send("ready")
            while True:
                refreshed = await auth.renewal.refresh(token, NOWHERE)
                token = refreshed.refresh_token
                told.send((refreshed.grant.access_token.reveal(), token.reveal()))

    asyncio.run(run())


def rotate_without_end(data_dir: Path, refresh_token: str, told: Connection) -> None:
    """Rotate again and again."""
    del refresh_token

    async def run() -> None:
        async with installed(data_dir).open_auth() as auth:
            told.send("ready")
            while True:
                grow_old(data_dir, seconds=2)  # of two keys in one second none could be called the later
                told.send((await auth.key_ring.rotate(at_once=True)).kid)

    asyncio.run(run())


def moments_of_death() -> random.Random:
    return random.Random(SEED)  # noqa: S311 - nobody is kept from guessing them


Child = Callable[[Path, str, Connection], None]


@pytest.fixture(scope="module")
def forkserver() -> ForkServerContext:
    """Give children that start in milliseconds: what they import was imported once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def killed(
    context: ForkServerContext, child: Child, data_dir: Path, told: Acknowledged, dies: random.Random
) -> list[Any]:
    """Run a child, kill it a moment after it has told something or other, and return all that it had told."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(data_dir, told.refresh_token, theirs))
    process.start()
    theirs.close()
    heard: list[Any] = []
    with closing(ours):
        assert ours.recv() == "ready"
        heard.extend(ours.recv() for _ in range(dies.randint(1, 4)))
        deadline = time.monotonic() + dies.uniform(0, 0.01)
        while (left := deadline - time.monotonic()) > 0 and ours.poll(left):
            heard.append(ours.recv())
        assert process.is_alive()  # it did not end by itself
        process.kill()
        process.join()
        # What had left it before, and is whole.
        with suppress(EOFError, OSError):
            while True:
                heard.append(ours.recv())
    return heard


async def test_a_process_killed_in_the_middle_of_refreshes_loses_no_session_that_was_acknowledged(
    tmp_path: Path, forkserver: ForkServerContext
) -> None:
    told, dies = await begin(tmp_path), moments_of_death()
    for _ in range(ROUNDS):
        for access_token, refresh_token in await asyncio.to_thread(
            killed, forkserver, refresh_without_end, tmp_path, told, dies
        ):
            told.access_tokens.append(access_token)
            told.refresh_token = refresh_token
        await require_nothing_lost(tmp_path, told)


async def test_a_process_killed_in_the_middle_of_rotations_leaves_no_key_without_its_private_half(
    tmp_path: Path, forkserver: ForkServerContext
) -> None:
    told, dies, rotated = await begin(tmp_path), moments_of_death(), list[str]()
    for _ in range(ROUNDS):
        rotated += await asyncio.to_thread(killed, forkserver, rotate_without_end, tmp_path, told, dies)
        await require_nothing_lost(tmp_path, told)
    assert len(rotated) == len(set(rotated))
    assert set(rotated) < await _keys(tmp_path)


async def _keys(data_dir: Path) -> set[str]:
    async with installed(data_dir).open_auth() as auth:
        return {row.kid for row in await store.signing_keys.load_all(auth.database)}


async def test_the_operators_rotation_killed_at_any_moment_is_done_or_not_and_nothing_between(tmp_path: Path) -> None:
    told, dies = await begin(tmp_path), moments_of_death()
    began = time.monotonic()
    assert await asyncio.to_thread(_rotate_command(tmp_path).wait) == 0
    took = time.monotonic() - began
    for _ in range(ROUNDS_OF_COMMANDS):
        command = _rotate_command(tmp_path)
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(command.wait, took * dies.uniform(0.6, 1.0))
        command.kill()
        command.wait()
        await require_nothing_lost(tmp_path, told)


def _rotate_command(data_dir: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "keys", "rotate", "--now"],
        cwd=ROOT,
        env=environment(data_dir=str(data_dir)),
        stdout=subprocess.DEVNULL,
    )


async def test_a_server_killed_while_four_clients_refresh_and_a_rotation_is_due_logs_nobody_out(tmp_path: Path) -> None:
    dies, clients = moments_of_death(), [Acknowledged("") for _ in range(4)]
    short = {"signing_key_lifetime": "PT1H", "jwks_max_age": "PT1S", "public_url": "http://127.0.0.1:8000"}
    signing: set[str] = set()
    for turn in range(ROUNDS_OF_SERVERS):
        with serving(tmp_path, **short) as server:
            async with server.client() as client:
                if not clients[0].refresh_token:
                    account = {"email": "ada@example.org", "password": PASSWORD, "displayName": "Ada"}
                    await client.ask(SIGN_UP, {"input": account})
                    for told in clients:
                        await _log_in(client, told)
                grow_old(tmp_path, seconds=7200)  # a rotation is due
                answered = asyncio.Semaphore(0)
                going_on = [asyncio.create_task(_refresh_until_cut_off(client, told, answered)) for told in clients]
                async with asyncio.timeout(START_SECONDS):
                    for _ in range(2 * turn):  # the first time it is killed before it has answered anything
                        await answered.acquire()
                await asyncio.wait(going_on, timeout=dies.uniform(0, 0.02))
                server.process.kill()
                await asyncio.gather(*going_on)
            server.kill()
        for told in clients:
            await require_nothing_lost(tmp_path, told)
        signing.add(await _current_key(tmp_path))
    assert len(signing) >= ROUNDS_OF_SERVERS - 1  # where it had answered, the rotation was done that was due


async def _log_in(client: Client, told: Acknowledged) -> None:
    typed = {"email": "ada@example.org", "password": PASSWORD, "delivery": "BODY"}
    given = (await client.ask(LOG_IN, {"input": typed})).data["login"]
    told.refresh_token = given["refreshToken"]
    told.access_tokens.append(given["accessToken"])


async def _refresh_until_cut_off(client: Client, told: Acknowledged, answered: asyncio.Semaphore) -> None:
    """Go on as a client does, until there is no server any more."""
    with suppress(httpx2.TransportError):
        while True:
            answer = (await client.ask(REFRESH, {"input": {"refreshToken": told.refresh_token}})).data["refresh"]
            assert answer["__typename"] == "RefreshSucceeded", answer
            told.refresh_token = answer["refreshToken"]
            told.access_tokens.append(answer["accessToken"])
            answered.release()


async def _current_key(data_dir: Path) -> str:
    async with installed(data_dir).open_auth() as auth:
        return (await auth.key_ring.signing_key()).kid
