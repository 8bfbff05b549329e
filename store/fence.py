"""The fence around a domain's migrations: meanwhile SQLite itself refuses what touches tables not the domain's.

A guard rail for mistakes, and no sandbox: a migration is Python, and Python that wants to takes the fence down. Reading
the core's tables is allowed, because a backfill may need to.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection

from store.namespaces import CORE, Namespace, is_own


class MigrationRefused(Exception):
    """A domain's migration wanted what is not its own; nothing of its namespace was applied."""


# What the authorizer is told of in its first argument, and in its second.
_NAMED_FIRST = {
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_CREATE_TEMP_TABLE,  # it would stand before a table of the same name
    sqlite3.SQLITE_CREATE_VIEW,
    sqlite3.SQLITE_CREATE_TEMP_VIEW,
    sqlite3.SQLITE_DROP_VIEW,
    sqlite3.SQLITE_CREATE_VTABLE,
    sqlite3.SQLITE_DROP_VTABLE,
}
_NAMED_SECOND = {
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_CREATE_TRIGGER,
    sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
    sqlite3.SQLITE_DROP_TRIGGER,
}
# Another file; and the transaction, which is what makes a refusal leave nothing behind.
_NEVER = {
    sqlite3.SQLITE_ATTACH: "another database file",
    sqlite3.SQLITE_DETACH: "another database file",
    sqlite3.SQLITE_TRANSACTION: "the transaction it runs in",
}

# Pragmas that take an argument to look at something. The others change something with theirs: `writable_schema` would
# open every table.
_LOOKING = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list"}


@contextmanager
def fenced(connection: Connection, namespace: Namespace) -> Iterator[None]:
    """Let a domain's migrations write to its own tables only; SQLite's authorizer sees what each really touches."""
    if namespace is CORE or connection.dialect.name != "sqlite":
        yield
        return
    refused: list[str] = []

    def authorize(action: int, first: str | None, second: str | None, _database: str | None, _by: str | None) -> int:
        touched = _strange(action, first, second, namespace)
        if touched is None:
            return sqlite3.SQLITE_OK
        refused.append(touched)
        return sqlite3.SQLITE_DENY

    foreign = _foreign_names(connection, namespace)
    raw: Any = connection.connection.dbapi_connection
    raw.set_authorizer(authorize)
    try:
        yield
        # A table of its own, renamed, is told to the authorizer by its old name only.
        refused += [f"the name {name!r}" for name in sorted(_foreign_names(connection, namespace) - foreign)]
        _compile_triggers(raw, namespace)
        if refused:
            raise MigrationRefused(_sentence(namespace, refused[0]))
    except MigrationRefused:
        raise
    except Exception as error:
        if refused:
            raise MigrationRefused(_sentence(namespace, refused[0])) from error
        raise
    finally:
        raw.set_authorizer(None)


def _strange(action: int, first: str | None, second: str | None, namespace: Namespace) -> str | None:
    """Return, in words, what an action touches that is not the namespace's own; None when it touches nothing such."""
    if action in _NAMED_FIRST or action in _NAMED_SECOND:
        table = (first if action in _NAMED_FIRST else second) or ""
        return None if is_own(table, namespace) else f"the table {table!r}"
    if action in _NEVER:
        return _NEVER[action]
    if action == sqlite3.SQLITE_PRAGMA and second is not None and first not in _LOOKING:
        return f"PRAGMA {first}"
    return None


def _foreign_names(connection: Connection, namespace: Namespace) -> set[str]:
    """Return the names of all tables and views that are not the namespace's own."""
    names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").scalars()
    return {name for name in names if not is_own(name, namespace)}


def _compile_triggers(raw: sqlite3.Connection, namespace: Namespace) -> None:
    """Have SQLite compile what the namespace's triggers do: it asks the authorizer then, not when one is made."""
    tables = {row[0] for row in raw.execute("SELECT tbl_name FROM sqlite_master WHERE type = 'trigger'")}
    for table in sorted(table for table in tables if is_own(table, namespace)):
        same = ", ".join(f'"{row[1]}" = "{row[1]}"' for row in raw.execute(f'PRAGMA table_info("{table}")'))
        for act in (f'INSERT INTO "{table}" DEFAULT VALUES', f'UPDATE "{table}" SET {same}', f'DELETE FROM "{table}"'):  # noqa: S608
            # What it cannot compile for another reason (a view that takes no DELETE) is not for the fence to judge.
            with suppress(sqlite3.Error):
                raw.execute(f"EXPLAIN {act}")


def _sentence(namespace: Namespace, touched: str) -> str:
    return (
        f"a migration of the domain {namespace.name!r} ({namespace.folder}) touches {touched}; "
        f"its own tables are those named {namespace.name}_*"
    )
