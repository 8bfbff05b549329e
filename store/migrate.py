"""Migrations: the core's, then each domain's in a namespace of its own, each run whole or not at all.

A namespace has a folder of Alembic revisions and a version table; a domain's tables bear its name (`books_orders`).
While a domain's migrations run, the database itself refuses whatever would touch a table that is not the domain's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from store.database import StoreUnavailable
from store.fence import MigrationRefused, fenced
from store.locations import Location, SQLiteFile
from store.migration_connections import PATIENCE, looking, migrating, raise_if_sick, sentence_of
from store.namespaces import CORE, Namespace
from store.revisions import Revisions

_HERE = Path(__file__).parent / "migrations"


class MigrationFailed(Exception):
    """A migration that did not run to its end; nothing of its namespace was applied."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A namespace that is behind: where it is (None: nowhere yet), and where it should be."""

    namespace: str
    at: str | None
    head: str | None


def upgrade(location: Location, domains: Sequence[Namespace] = (), *, patience: timedelta = PATIENCE) -> list[Pending]:
    """Bring a database up to date, a SQLite file made if need be with mode 0600; return what was behind.

    Processes that start together wait for each other: the first migrates, the others find nothing left to do. One
    that finds nothing to do at all waits for nobody, and writes nothing. `patience` is for each namespace.
    Raises `MigrationRefused` for a domain that leaves its namespace, `MigrationFailed`, and `StoreUnavailable`.
    """
    if isinstance(location, SQLiteFile):
        _make_file(location.path)
    names = {behind.namespace for behind in pending(location, domains)}
    applied = [
        migrating(location, partial(_upgraded, namespace=namespace), patience)
        for namespace in (CORE, *domains)
        if namespace.name in names
    ]
    return [behind for behind in applied if behind is not None]


def pending(location: Location, domains: Sequence[Namespace] = ()) -> list[Pending]:
    """Return the namespaces that are behind, touching nothing. Raises `StoreUnavailable`."""
    if isinstance(location, SQLiteFile) and not location.path.is_file():
        return [Pending(namespace.name, None, _head(namespace)) for namespace in (CORE, *domains)]

    def look(connection: Connection) -> list[Pending]:
        found = (_pending(connection, namespace) for namespace in (CORE, *domains))
        return [behind for behind in found if behind is not None]

    return looking(location, look)


def _make_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"the database file cannot be made: {error}") from error


def _upgraded(connection: Connection, namespace: Namespace) -> Pending | None:
    behind = _pending(connection, namespace)
    if behind is not None:
        _apply(connection, namespace)
    return behind


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
    except DBAPIError as error:
        raise_if_sick(error)
        # A database tells its errors with the rows that they are about, and a traceback would have them too.
        raise MigrationFailed(_sentence(namespace, sentence_of(error))) from None
    except Exception as error:
        raise_if_sick(error)
        raise MigrationFailed(_sentence(namespace, error)) from error
    if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        # They are not enforced while tables are rebuilt, so they are looked at once that is done.
        raise MigrationFailed(f"a migration of {namespace.name!r} left a row that refers to one that is not there")


def _sentence(namespace: Namespace, why: object) -> str:
    return f"a migration of {namespace.name!r} ({namespace.folder}) failed: {why}"


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
