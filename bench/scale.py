"""Whether it stays as quick with a million people: `python -m bench.scale [--sizes 1000,100000] [--engine sqlite]`.

For each engine and each number of people, all with a session: what the gate, a login, a refresh and a list cost, and
what memory and disk they take. It is the CPU time of this process, in microseconds, of many short rounds the best; on
PostgreSQL the time until the answer is there stands beside it, for the server works on it meanwhile.
"""

import argparse
import gc
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import uvloop

from auth import Auth, tokens
from auth.gate import Credential
from auth.ids import new_id
from auth.origin import Origin
from auth.passwords import Passwords
from auth.policy import HashingCost
from auth.secret import Secret
from auth.tokens import FIRST_PARTY_CLIENT, Claims, TokenKind
from bench.machine import description, resident_kib
from bench.population import Resident, address_of, fill, residents
from bench.report import number, table, target
from installation import Installation, assemble
from settings import load_settings
from store.locations import PostgreSQL
from tests.postgres import postgres_server, prepared, run

SIZES = (1_000, 100_000, 1_000_000)
ENGINES = ("sqlite", "postgresql")
PASSWORD = "a lighthouse keeps no secrets"  # noqa: S105 - of accounts that live as long as this process
HERE = Origin("127.0.0.1", "bench", new_id())

CALLERS = 2_000  # how many of them call, each with a token that was verified before

# The least that hashing can cost, so that what is around it is seen.
_CHEAP = HashingCost(memory_kib=8, iterations=1, threads=2)

_FLAT = 1.5
_LIMITS = {"sqlite": 15.0, "postgresql": 150.0}
GATE, GATE_ANEW = "gate", "gate, after a commit"

Act = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Cost:
    """What one act takes, in microseconds: of this process's CPU, and until it is done."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Figures:
    """What was found with so many people."""

    people: int
    costs: dict[str, Cost]
    resident_kib: int | None
    disk_mib: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="how many people, separated by commas")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="one of the engines alone")
    chosen = parser.parse_args(arguments)
    print(f"{description()}\n", flush=True)
    for engine in chosen.engine or ENGINES:
        found = [_measured(engine, int(size)) for size in chosen.sizes.split(",")]
        print(_written(engine, found), flush=True)
    return 0


def _measured(engine: str, size: int) -> Figures:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        location = {}
        if engine == "postgresql":
            server = stack.enter_context(postgres_server("shared_buffers=512MB", "max_wal_size=4GB"))
            location["database_url"] = prepared(server.uri).database().uri
        cheap: dict[str, Any] = {"password_memory_kib": _CHEAP.memory_kib, "password_iterations": _CHEAP.iterations}
        installation = assemble(
            load_settings(data_dir=Path(folder), guesses_per_address=1_000_000, **cheap, **location)
        )
        installation.prepare_database()
        fill(installation.settings.database, size, password_hash=uvloop.run(_hashed()))
        places = set(random.Random(size).sample(range(size), min(CALLERS, size)))  # noqa: S311 - any will do
        callers = [who for place, who in enumerate(residents(size)) if place in places]
        costs = uvloop.run(_costs(installation, callers, size))
        return Figures(size, costs, resident_kib(os.getpid()), _disk_mib(installation))


async def _hashed() -> str:
    with _hasher() as passwords:
        return await passwords.hash_checked(PASSWORD, about_its_owner=())


@contextmanager
def _hasher() -> Iterator[Passwords]:
    """Give a hasher of the cheapest sort, and end its threads."""
    passwords = Passwords(_CHEAP)
    try:
        yield passwords
    finally:
        passwords.close()


async def _costs(installation: Installation, callers: Sequence[Resident], size: int) -> dict[str, Cost]:
    async with installation.open_auth() as auth:
        shown = [await _credential(auth, installation, who) for who in callers]
        for credential in shown:
            await auth.gate.authenticate(credential, HERE)  # verified once, as a token is that is in use
        gc.collect()
        gc.freeze()
        turn = cycle(shown)

        async def gate() -> object:
            return await auth.gate.authenticate(next(turn), HERE)

        # Rounds that are short, and go through all callers together again and again.
        costs = {GATE: await _cost(gate, 250, rounds=100)}
        costs[GATE_ANEW] = await _cost(gate, 250, rounds=20, before=lambda: _commit(auth))
        places = cycle(random.Random(size).sample(range(size), min(500, size)))  # noqa: S311 - any will do
        refresh_tokens: list[Secret] = []

        async def log_in() -> object:
            logged_in = await auth.login.log_in(address_of(next(places)), PASSWORD, HERE)
            if logged_in is None:
                raise RuntimeError("nobody was logged in")
            refresh_tokens.append(logged_in.refresh_token)
            return logged_in

        async def refresh() -> object:
            refreshed = await auth.renewal.refresh(refresh_tokens.pop(0), HERE)
            refresh_tokens.append(refreshed.refresh_token)
            return refreshed

        identities = cycle([(await auth.gate.authenticate(credential, HERE)).identity for credential in shown[:500]])

        async def list_sessions() -> object:
            return await auth.sessions.page(next(identities), limit=20, after=None)

        administrator = next(identities)._replace(scopes=frozenset({"users:read"}))

        async def search() -> object:
            prefix = address_of(next(places))[:14]
            return await auth.users.page(administrator, limit=20, after=None, search=prefix)

        costs["login, with the cheapest hash"] = await _cost(log_in, 5)
        costs["refresh"] = await _cost(refresh, 5)
        costs["list of one's sessions"] = await _cost(list_sessions, 50)
        costs["search among all people"] = await _cost(search, 10)
        return costs


async def _commit(auth: Auth) -> None:
    """Commit something that concerns nobody, as others do between two requests."""
    async with auth.database.transaction() as tx:
        await auth.publications.publish(tx, "bench:commit", None)


async def _credential(auth: Auth, installation: Installation, who: Resident) -> Credential:
    now = datetime.now(UTC)
    claims = Claims(
        kind=TokenKind.SESSION,
        subject=who.user_id,
        token_id=new_id(),
        scopes=frozenset({"profile:read", "sessions:read"}),
        issued_at=now,
        expires_at=now + timedelta(hours=1),
        client_id=FIRST_PARTY_CLIENT,
        session_id=who.session_id,
        authentication_methods=("pwd",),
        authenticated_at=now,
    )
    key = await auth.key_ring.signing_key()
    return Credential(token=tokens.issue(claims, key, issuer=installation.settings.public_url))


async def _cost(act: Act, times: int, *, rounds: int = 10, before: Callable[[], Awaitable[None]] | None = None) -> Cost:
    """Return what one of so many acts takes, in the best of the rounds; `before` each round something may happen."""
    cpu = wall = float("inf")
    for _ in range(rounds):
        if before is not None:
            await before()
        begun, begun_cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            await act()
        cpu = min(cpu, (time.process_time() - begun_cpu) / times * 1e6)
        wall = min(wall, (time.perf_counter() - begun) / times * 1e6)
    return Cost(cpu, wall)


def _disk_mib(installation: Installation) -> float:
    location = installation.settings.database
    if isinstance(location, PostgreSQL):
        ((size,),) = run(location.uri, "CHECKPOINT", "SELECT pg_database_size(current_database())")
        return float(size) / 2**20
    return sum(path.stat().st_size for path in location.path.parent.glob(f"{location.path.name}*")) / 2**20


def _written(engine: str, found: Sequence[Figures]) -> str:
    head = (engine, *(f"{figures.people:,}" for figures in found))
    rows = []
    for what in found[0].costs:
        rows.append((f"{what}, µs of CPU", *(number(figures.costs[what].cpu) for figures in found)))
        if engine == "postgresql":
            rows.append((f"{what}, µs until done", *(number(figures.costs[what].wall) for figures in found)))
    rows.append(("memory of the process, MiB", *(number((each.resident_kib or 0) / 1024) for each in found)))
    rows.append(("disk, MiB", *(number(each.disk_mib) for each in found)))
    gates = [figures.costs[GATE].cpu for figures in found]
    ratio = max(gates) / gates[0]
    limit = _LIMITS[engine]
    targets = (
        target(f"the gate costs {_FLAT} times as much at the most", f"{ratio:.2f}", ratio <= _FLAT),
        target(f"it costs {limit:.0f} µs at the most", f"{max(gates):.1f}", max(gates) <= limit),
    )
    return "\n\n".join((f"### {engine}", table(head, rows), *targets)) + "\n"


if __name__ == "__main__":
    sys.exit(main())
