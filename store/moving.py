"""Moving an installation from one database to another, with everybody still logged in: every row, or none.

While it goes on nobody writes to the database that is moved, and nothing of it is changed. Where the rows go to is
migrated first, must not have been used yet, and has all of them in one transaction or nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, MetaData, inspect, literal, select

from store.locations import Location, SQLiteFile
from store.migrate import pending, upgrade
from store.migration_connections import in_a_loop_of_its_own, looking
from store.moving_ends import PATIENCE, Column, End, MoveRefused, Rows, opened
from store.moving_values import UNLIKE, Convert, is_unlike
from store.namespaces import CORE, Namespace, is_own
from store.tables import metadata

__all__ = ["MoveRefused", "Moved", "move"]

_VERSIONS = "alembic_version_"


@dataclass(frozen=True, slots=True)
class Moved:
    """A table that was moved, and how many rows it has."""

    table: str
    rows: int


def move(
    source: Location, target: Location, domains: Sequence[Namespace] = (), *, patience: timedelta = PATIENCE
) -> list[Moved]:
    """Move every row of the core and of these domains; return the tables.

    `patience` is for those who write to either when it begins. After that they wait, and are told UNAVAILABLE.

    Raises `MoveRefused`, `StoreUnavailable`, and what `upgrade` raises for the database that is moved to.
    """
    _require_head(source, domains)
    found = looking(source, lambda connection: _tables(connection, domains))
    if found.unknown_domains:
        raise MoveRefused(
            f"{source} has tables of the domain {found.unknown_domains[0]!r}, which is not loaded: "
            "name it in WATCHWORD_DOMAINS"
        )
    if not isinstance(target, SQLiteFile) or target.path.is_file():
        _refuse_if_used(target, looking(target, _tables_in_use))
    upgrade(target, domains)
    tables = looking(target, lambda connection: _tables(connection, domains)).names
    if missing := sorted(set(found.names) - set(tables)):
        raise MoveRefused(f"{target} has no table {missing[0]!r}, which {source} has")
    return in_a_loop_of_its_own(_move(source, target, tables, patience))


@dataclass(frozen=True, slots=True)
class _Found:
    names: list[str]  # each after those that it refers to
    unknown_domains: list[str]


def _require_head(source: Location, domains: Sequence[Namespace]) -> None:
    if isinstance(source, SQLiteFile) and not source.path.is_file():
        raise MoveRefused(f"there is no database file {source}")
    if behind := pending(source, domains):
        raise MoveRefused(
            f"{source} is behind in {behind[0].namespace!r}: run `watchword migrate` with it, and then move"
        )


def _tables(connection: Connection, domains: Sequence[Namespace]) -> _Found:
    loaded = {CORE.version_table, *(domain.version_table for domain in domains)}
    everything = inspect(connection).get_table_names()
    own = {name for name in everything if name in metadata.tables or any(is_own(name, domain) for domain in domains)}
    reflected = MetaData()
    reflected.reflect(connection, only=sorted(own - loaded), resolve_fks=False)
    unknown = [name.removeprefix(_VERSIONS) for name in everything if name.startswith(_VERSIONS)]
    return _Found(
        [table.name for table in reflected.sorted_tables],
        sorted(name for name in unknown if _VERSIONS + name not in loaded),
    )


def _tables_in_use(connection: Connection) -> list[str]:
    # Rows of a domain's alone are those that its migrations brought: a server that has run here has made keys.
    there = set(inspect(connection).get_table_names())
    return [
        name
        for name, table in metadata.tables.items()
        if name in there and connection.execute(select(literal(1)).select_from(table).limit(1)).first() is not None
    ]


def _refuse_if_used(target: Location, tables: Sequence[str]) -> None:
    if tables:
        raise MoveRefused(f"{target} is in use: there are rows in {tables[0]!r}. Move to an empty database")


async def _move(source: Location, target: Location, tables: Sequence[str], patience: timedelta) -> list[Moved]:
    async with opened(source, patience) as old, opened(target, patience) as new:
        await old.lock(tables)
        await new.lock(tables)
        # Asked again, for now nobody can begin to use it any more.
        _refuse_if_used(target, [table for table in metadata.tables if await new.count(table)])
        for table in reversed(tables):
            await new.empty(table)
        moved = [Moved(table, await _move_table(old, new, table)) for table in tables]
        await new.finish(tables)
    return moved


async def _move_table(old: End, new: End, table: str) -> int:
    columns = await new.columns(table)
    if {column.name for column in columns} != {column.name for column in await old.columns(table)}:
        raise MoveRefused(f"the table {table!r} has other columns on one side than on the other")
    names = [column.name for column in columns]
    converts = [_convert_for(new, table, column) for column in columns]
    await new.write(table, names, _converted(old.rows(table, names), table, names, converts))
    before, after = await old.count(table), await new.count(table)
    if before != after:
        raise MoveRefused(f"of the {before} rows of {table!r}, {after} arrived: a trigger may have changed that")
    return after


def _convert_for(new: End, table: str, column: Column) -> Convert:
    convert = new.convert_for(column)
    if convert is None:
        raise MoveRefused(f"{column.name!r} of {table!r} is of the type {column.type!r}, which cannot be moved")
    return convert


async def _converted(rows: Rows, table: str, names: Sequence[str], converts: Sequence[Convert]) -> Rows:
    async for row in rows:
        try:
            yield [None if value is None else convert(value) for convert, value in zip(converts, row, strict=True)]
        except UNLIKE:
            wrong = next(name for name, *pair in zip(names, converts, row, strict=True) if is_unlike(*pair))
            raise MoveRefused(f"a row of {table!r} has a value in {wrong!r} that cannot be moved") from None
