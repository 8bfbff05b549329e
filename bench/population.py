"""People and sessions by the million, written past the application, as if they had been there for years."""

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import Table

from store.locations import Location, PostgreSQL
from store.tables import sessions, user_roles, users

_AT_ONCE = 20_000
_THE_FIRST_CAME = datetime(2026, 1, 1, tzinfo=UTC)
_CAME_WITHIN = timedelta(days=60)


@dataclass(frozen=True)
class Resident:
    """Somebody who has an account and a session."""

    user_id: str
    session_id: str


def residents(how_many: int) -> Iterator[Resident]:
    """Give so many people, the same ones each time, whose ids are in the order of their coming as UUIDv7 is."""
    chance = random.Random(how_many)  # noqa: S311 - who they are is no secret
    first = int(_THE_FIRST_CAME.timestamp() * 1000)
    step = _CAME_WITHIN / timedelta(milliseconds=1) / how_many
    for place in range(how_many):
        instant = first + int(place * step)
        yield Resident(_id(instant, chance), _id(instant + 1, chance))


def fill(location: Location, how_many: int, *, password_hash: str) -> None:
    """Write so many people, each with a role and a session, all with the same password."""
    tables = {
        users: (_user(place, who, password_hash) for place, who in enumerate(residents(how_many))),
        user_roles: ((who.user_id, "user", 0) for who in residents(how_many)),
        sessions: (_session(who) for who in residents(how_many)),
    }
    for table, rows in tables.items():
        if isinstance(location, PostgreSQL):
            asyncio.run(_copy(location.uri, table, rows))
        else:
            with closing(sqlite3.connect(location.path)) as connection, connection:
                places = ", ".join("?" * len(table.columns))
                connection.executemany(f"INSERT INTO {table.name} VALUES ({places})", rows)  # noqa: S608 - our names


async def _copy(uri: str, table: Table, rows: Iterator[tuple[Any, ...]]) -> None:
    connection = await asyncpg.connect(uri)
    try:
        columns = [column.name for column in table.columns]
        while batch := list(islice(rows, _AT_ONCE)):
            await connection.copy_records_to_table(table.name, records=batch, columns=columns)
        await connection.execute(f"VACUUM ANALYZE {table.name}")
    finally:
        await connection.close()


def address_of(place: int) -> str:
    """Return the e-mail address of the one who came as number `place`."""
    return f"resident.{place:07}@example.org"


def _user(place: int, who: Resident, password_hash: str) -> tuple[Any, ...]:
    email, name, now = address_of(place), f"Resident {place:07}", int(datetime.now(UTC).timestamp())
    return who.user_id, email, email, name, name.casefold(), password_hash, now, now, None


def _session(who: Resident) -> tuple[Any, ...]:
    now = int(datetime.now(UTC).timestamp())
    values: dict[str, Any] = {
        "id": who.session_id,
        "user_id": who.user_id,
        "secret_digest": sha256(who.session_id.encode()).digest(),
        "authentication_methods": "pwd",
        "authenticated_at": now,
        "created_at": now,
        "last_seen_at": now,
        "expires_at": now + int(timedelta(days=90).total_seconds()),
        "device_name": "Firefox on Linux",
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "address": "192.0.2.1",
        "network": "192.0.2.1",
        "refresh_counter": 0,
    }
    return tuple(values.get(column.name) for column in sessions.columns)


def _id(milliseconds: int, chance: random.Random) -> str:
    """Return a UUIDv7 (RFC 9562 §5.7)."""
    number = milliseconds << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62)
    return str(UUID(int=number))
