"""Migrations: the core's, then each domain's in a namespace of its own, each run whole or not at all.

A namespace has a folder of Alembic revisions and a version table; a domain's tables bear its name (`books_orders`).
While a domain's migrations run, the database itself refuses whatever would touch a table that is not the domain's.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import NullPool

from store.database import StoreUnavailable

_HERE = Path(__file__).parent / "migrations"


class MigrationRefused(Exception):  # noqa: N818 - it is a decision, not a failure
    """A domain's migration wanted what is not its own; nothing of its namespace was applied."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A line of revisions: the core's is called `core`, a domain's bears the domain's name."""

    name: str
    folder: Path

    @property
    def version_table(self) -> str:
        """The table that says how far this namespace has come."""
        return "alembic_version" if self.name == CORE.name else f"alembic_version_{self.name}"


CORE = Namespace("core", _HERE / "versions")


@dataclass(frozen=True, slots=True)
class Pending:
    """A namespace that is behind: where it is (None: nowhere yet), and where it should be."""

    namespace: str
    at: str | None
    head: str | None


def upgrade(path: Path, domains: Sequence[Namespace] = ()) -> list[Pending]:
    """Bring a SQLite file, made if need be with mode 0600, up to date; return what was behind.

    Processes that start together wait for each other: the first migrates, the others find nothing left to do.
    Raises `MigrationRefused` for a domain that leaves its namespace, and `StoreUnavailable`.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600, exist_ok=True)
    applied: list[Pending] = []
    for namespace in (CORE, *domains):
        with _transaction(path) as connection:
            behind = _pending(connection, namespace)
            if behind is not None:
                with _fenced(connection, namespace):
                    command.upgrade(_config(connection, namespace), "head")
                applied.append(behind)
    return applied


def pending(path: Path, domains: Sequence[Namespace] = ()) -> list[Pending]:
    """Return the namespaces that are behind, touching nothing. Raises `StoreUnavailable`."""
    if not path.is_file():
        return [Pending(namespace.name, None, _head(namespace)) for namespace in (CORE, *domains)]
    with _transaction(path) as connection:
        found = [_pending(connection, namespace) for namespace in (CORE, *domains)]
        return [behind for behind in found if behind is not None]


def _pending(connection: Connection, namespace: Namespace) -> Pending | None:
    migrations = MigrationContext.configure(connection, opts={"version_table": namespace.version_table})
    at, head = migrations.get_current_revision(), _head(namespace)
    return None if at == head else Pending(namespace.name, at, head)


def _head(namespace: Namespace) -> str | None:
    return ScriptDirectory(str(_HERE), version_locations=[str(namespace.folder)]).get_current_head()


def _config(connection: Connection, namespace: Namespace) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(namespace.folder))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = namespace.version_table
    return config


@contextmanager
def _transaction(path: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _leave_transactions_to_us(raw: Any, _record: Any) -> None:
        # The driver's own habit of committing before DDL would leave half a migration behind.
        raw.isolation_level = None
        raw.execute("PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "begin")
    def _take_the_write_lock(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as connection:
            yield connection
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database cannot be migrated: {error}") from error
    finally:
        engine.dispose()


_WRITES = {
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_DROP_TABLE,
}
_CHANGES_OF_SECOND_NAME = {
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_CREATE_TRIGGER,
    sqlite3.SQLITE_DROP_TRIGGER,
}


@contextmanager
def _fenced(connection: Connection, namespace: Namespace) -> Iterator[None]:
    """Let a domain's migrations write to its own tables only; SQLite's authorizer sees what each really touches."""
    if namespace.name == CORE.name:
        yield
        return
    refused: list[str] = []

    def authorize(action: int, first: str | None, second: str | None, _database: str | None, _by: str | None) -> int:
        if action in _WRITES:
            table = first
        elif action in _CHANGES_OF_SECOND_NAME:
            table = second
        else:
            return sqlite3.SQLITE_OK
        if table is None or _is_own(table, namespace):
            return sqlite3.SQLITE_OK
        refused.append(table)
        return sqlite3.SQLITE_DENY

    raw: Any = connection.connection.dbapi_connection
    raw.set_authorizer(authorize)
    try:
        yield
    except Exception as error:
        if refused:
            raise MigrationRefused(
                f"a migration of the domain {namespace.name!r} ({namespace.folder}) touches the table {refused[0]!r}; "
                f"its own tables are those named {namespace.name}_*"
            ) from error
        raise
    finally:
        raw.set_authorizer(None)


def _is_own(table: str, namespace: Namespace) -> bool:
    return (
        table.startswith((f"{namespace.name}_", "sqlite_", f"_alembic_tmp_{namespace.name}_"))
        or table == namespace.version_table
    )
