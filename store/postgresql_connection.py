"""One connection to PostgreSQL: how it is made, what holds for it, and the statements that were prepared on it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect

from store.database import Row, StoreUnavailable
from store.postgresql_faults import not_connected, raise_if_sick
from store.statements import Statement

_DIALECT = asyncpg_dialect()  # type: ignore[no-untyped-call]

# Of several hosts, the next is tried too when one has not answered for so long: a machine that is gone says nothing.
_HEAD_START = 0.25

# So that it is said of a lock that it was one.
_LATER = timedelta(milliseconds=100)

# A process that was stopped in the middle of a transaction must not hold its locks for longer.
_LEFT_ALONE = timedelta(seconds=10)

# A server in recovery shows what was true a moment ago: a session that was revoked since would be let in.
_LOOK = """
SELECT pg_is_in_recovery(), pid, extract(epoch FROM backend_start)::text,
       CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END
FROM pg_stat_activity WHERE pid = pg_backend_pid()
"""


class Ticks:
    """A count that goes on while the event loop does: what stood still with it is not taken for slow."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0


class Backend(NamedTuple):
    """The server's process at the other end. Its number may come again, but not with the same start."""

    pid: int
    started: str


class _Ready(NamedTuple):
    """A statement that was prepared on a connection, and what puts values in its order."""

    prepared: Any
    arguments: Callable[[Mapping[str, Any]], Sequence[Any]]


class Connection:
    """One connection, in the hands of one task at a time, with the statements that were prepared on it."""

    __slots__ = ("_names", "_ready", "_ticks", "asked_at", "backend", "made_at", "raw", "was_cut")

    def __init__(self, raw: Any, backend: Backend, ticks: Ticks) -> None:
        self.raw = raw
        self.backend = backend
        self.made_at = ticks.now
        self.asked_at: int | None = None  # since when it has had no answer
        self.was_cut = False
        self._ticks = ticks
        self._ready: dict[Statement, _Ready] = {}
        self._names = count()

    async def first(self, statement: Statement, values: Mapping[str, Any]) -> Row | None:
        """Return the first row, or None. It raises `StoreUnavailable`, as all of these do."""
        self.asked_at = self._ticks.now
        try:
            ready = self._ready.get(statement) or await self._prepare(statement)
            row: Row | None = await ready.prepared.fetchrow(*ready.arguments(values))
        except Exception as error:
            raise_if_sick(error)
            raise
        finally:
            self.asked_at = None
        return row

    async def every(self, statement: Statement, values: Mapping[str, Any]) -> list[Row]:
        """Return every row."""
        self.asked_at = self._ticks.now
        try:
            ready = self._ready.get(statement) or await self._prepare(statement)
            rows: list[Row] = await ready.prepared.fetch(*ready.arguments(values))
        except Exception as error:
            raise_if_sick(error)
            raise
        finally:
            self.asked_at = None
        return rows

    async def write(self, statement: Statement, values: Mapping[str, Any]) -> int:
        """Execute a write and return how many rows it touched."""
        self.asked_at = self._ticks.now
        try:
            ready = self._ready.get(statement) or await self._prepare(statement)
            await ready.prepared.fetch(*ready.arguments(values))
        except Exception as error:
            raise_if_sick(error)
            raise
        finally:
            self.asked_at = None
        return int(ready.prepared.get_statusmsg().rpartition(" ")[2])

    async def execute(self, sql: str) -> str:
        """Execute statements that have no values, and return what the server says of the last one."""
        self.asked_at = self._ticks.now
        try:
            said: str = await self.raw.execute(sql)
        except Exception as error:
            raise_if_sick(error)
            raise
        finally:
            self.asked_at = None
        return said

    async def _prepare(self, statement: Statement) -> _Ready:
        compiled = statement.compiled(_DIALECT)
        # Without a name it would be parsed and planned again for each execution. Each name is used once: of a
        # preparation that was cancelled, nobody knows whether the server has it.
        prepared = await self.raw.prepare(compiled.sql, name=f"watchword_{next(self._names)}")
        ready = self._ready[statement] = _Ready(prepared, compiled.arguments)
        return ready


def hosts_of(uri: str) -> list[str]:
    """Return a URI for each of the hosts that one names."""
    parts = urlsplit(uri)
    who, at, where = parts.netloc.rpartition("@")
    # Of a password that has an @ in it, the driver would take the rest for a host, and name it in its errors.
    who = who.replace("@", "%40")
    return [urlunsplit(parts._replace(netloc=f"{who}{at}{host}")) for host in where.split(",")]


async def connect(uris: Sequence[str], patience: timedelta) -> tuple[Any, Backend]:
    """Make a connection of asyncpg's, set up, to the first of several servers that is a primary and answers.

    Raises `StoreUnavailable`, whatever the reason.
    """
    try:
        async with asyncio.timeout(patience.total_seconds()):
            if len(uris) == 1:
                return await _connected(uris[0], patience)
            return await _first_of(uris, patience)
    except Exception as error:  # noqa: BLE001 - whatever it is: there is no connection, and it is tried again
        raise not_connected(error) from (None if isinstance(error, ValueError) else error)


async def _first_of(uris: Sequence[str], patience: timedelta) -> tuple[Any, Backend]:
    left, trying = list(uris), set[asyncio.Task[tuple[Any, Backend]]]()
    found: list[tuple[Any, Backend]] = []
    last_error: BaseException | None = None
    try:
        while not found and (left or trying):
            if left:
                trying.add(asyncio.create_task(_connected(left.pop(0), patience), name="watchword-trying-host"))
            head_start = _HEAD_START if left else None
            done, trying = await asyncio.wait(trying, timeout=head_start, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                last_error = attempt.exception() or last_error
                found += [] if attempt.exception() else [attempt.result()]
    finally:
        for attempt in trying:
            attempt.cancel()
        for late in await asyncio.gather(*trying, return_exceptions=True):
            found += [] if isinstance(late, BaseException) else [late]
        for raw, _ in found[1:]:
            raw.terminate()
    if not found:
        raise last_error or StoreUnavailable("the database's URL names no host")
    return found[0]


async def _connected(uri: str, patience: timedelta) -> tuple[Any, Backend]:
    # The caches of asyncpg's are for statements that it prepares by itself: here are none.
    raw = await asyncpg.connect(uri, timeout=patience.total_seconds(), statement_cache_size=0)
    try:
        return raw, await _set_up(raw, patience)
    except BaseException:
        raw.terminate()
        raise


async def _set_up(raw: Any, patience: timedelta) -> Backend:
    """Say what holds for every session of ours, whatever the server's defaults are."""
    # Ids are text here, as on SQLite, and values of a type of their own nowhere.
    await raw.set_type_codec("uuid", encoder=str, decoder=str, schema="pg_catalog", format="text")
    settings: Sequence[tuple[str, str]] = (
        ("application_name", "watchword"),
        ("timezone", "UTC"),
        ("lock_timeout", _milliseconds(patience)),
        ("statement_timeout", _milliseconds(patience + _LATER)),
        ("idle_in_transaction_session_timeout", _milliseconds(max(_LEFT_ALONE, 2 * patience))),
        ("tcp_keepalives_idle", "30"),
        ("tcp_keepalives_interval", "10"),
        ("tcp_keepalives_count", "3"),
    )
    await raw.execute("; ".join(f"SET {name} = '{value}'" for name, value in settings))
    # What was acknowledged is on the disk. An operator may ask for more than that, and not for less.
    is_in_recovery, pid, started, _ = await raw.fetchrow(_LOOK)
    if is_in_recovery:
        raise StoreUnavailable("the database cannot be used: the server is a standby")
    return Backend(pid, started)


def _milliseconds(span: timedelta) -> str:
    return str(max(1, round(span.total_seconds() * 1000)))
