"""Migrations: the core's, then each domain's in a namespace of its own, each run whole or not at all.

A namespace has a folder of Alembic revisions and a version table; a domain's tables bear its name (`books_orders`).
While a domain's migrations run, the database itself refuses whatever would touch a table that is not the domain's.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.pool import NullPool

from store.database import StoreUnavailable
from store.fence import MigrationRefused, fenced
from store.namespaces import CORE, Namespace
from store.revisions import Revisions
from store.sqlite_faults import unavailable_when_sick

_HERE = Path(__file__).parent / "migrations"


class MigrationFailed(Exception):
    """A migration that did not run to its end; nothing of its namespace was applied."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A namespace that is behind: where it is (None: nowhere yet), and where it should be."""

    namespace: str
    at: str | None
    head: str | None


def upgrade(path: Path, domains: Sequence[Namespace] = ()) -> list[Pending]:
    """Bring a SQLite file, made if need be with mode 0600, up to date; return what was behind.

    Processes that start together wait for each other: the first migrates, the others find nothing left to do.
    Raises `MigrationRefused` for a domain that leaves its namespace, `MigrationFailed`, and `StoreUnavailable`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"the database file cannot be made: {error}") from error
    applied: list[Pending] = []
    for namespace in (CORE, *domains):
        with _connection(path, writing=True) as connection:
            behind = _pending(connection, namespace)
            if behind is not None:
                _apply(connection, namespace)
                applied.append(behind)
    return applied


def pending(path: Path, domains: Sequence[Namespace] = ()) -> list[Pending]:
    """Return the namespaces that are behind, touching nothing. Raises `StoreUnavailable`."""
    if not path.is_file():
        return [Pending(namespace.name, None, _head(namespace)) for namespace in (CORE, *domains)]
    with _connection(path, writing=False) as connection:
        found = [_pending(connection, namespace) for namespace in (CORE, *domains)]
        return [behind for behind in found if behind is not None]


def known_revisions(domains: Sequence[Namespace] = ()) -> list[Revisions]:
    """Return the revisions that this program knows. Raises `MigrationRefused` for a folder that is not there."""
    lines = []
    for namespace in (CORE, *domains):
        head = _head(namespace)
        known = {script.revision for script in _scripts(namespace).walk_revisions()}
        lines.append(Revisions(namespace.name, namespace.version_table, head, frozenset(known - {head})))
    return lines


def _apply(connection: Connection, namespace: Namespace) -> None:
    try:
        with fenced(connection, namespace):
            command.upgrade(_config(connection, namespace), "head")
    except (MigrationRefused, StoreUnavailable):
        raise
    except Exception as error:
        raise MigrationFailed(f"a migration of {namespace.name!r} ({namespace.folder}) failed: {error}") from error
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
        # They are not enforced while tables are rebuilt, so they are looked at once that is done.
        raise MigrationFailed(f"a migration of {namespace.name!r} left a row that refers to one that is not there")


def _pending(connection: Connection, namespace: Namespace) -> Pending | None:
    migrations = MigrationContext.configure(connection, opts={"version_table": namespace.version_table})
    at, head = migrations.get_current_revision(), _head(namespace)
    if at is not None and at not in {script.revision for script in _scripts(namespace).walk_revisions()}:
        raise StoreUnavailable(
            f"the database is newer than this program: {namespace.name!r} is at the revision {at!r}, "
            f"which {namespace.folder} does not have"
        )
    return None if at == head else Pending(namespace.name, at, head)


def _head(namespace: Namespace) -> str | None:
    heads = _scripts(namespace).get_heads()
    if len(heads) > 1:
        raise MigrationRefused(f"the migrations of {namespace.name!r} ({namespace.folder}) branch: {', '.join(heads)}")
    return heads[0] if heads else None


def _scripts(namespace: Namespace) -> ScriptDirectory:
    if not namespace.folder.is_dir():
        raise MigrationRefused(f"there is no folder {namespace.folder} with the migrations of {namespace.name!r}")
    return ScriptDirectory(str(_HERE), version_locations=[str(namespace.folder)])


def _literal(path: Path) -> str:
    return str(path).replace("%", "%%")  # which the options would otherwise interpolate


def _config(connection: Connection, namespace: Namespace) -> Config:
    config = Config()
    config.set_main_option("script_location", _literal(_HERE))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", _literal(namespace.folder))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = namespace.version_table
    return config


@contextmanager
def _connection(path: Path, *, writing: bool) -> Iterator[Connection]:
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _leave_transactions_to_us(raw: Any, _record: Any) -> None:
        # The driver's own habit of committing before DDL would leave half a migration behind.
        raw.isolation_level = None
        if writing:
            raw.execute("PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # With the write lock from the start, processes that come up together migrate one after the other.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    try:
        with unavailable_when_sick(), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
