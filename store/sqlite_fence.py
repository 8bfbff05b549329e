"""The fence on SQLite: its authorizer sees what each statement really touches, and refuses it before it is done."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection

from store.namespaces import Namespace, is_own

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


class Fence:
    """Stands around one namespace on one connection; `refused` is what was touched, in words."""

    def __init__(self, connection: Connection, namespace: Namespace) -> None:
        self.refused: list[str] = []
        self._connection = connection
        self._namespace = namespace
        self._foreign_names = self._names_that_are_foreign()
        self._raw: Any = connection.connection.dbapi_connection

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Refuse what is not the namespace's own, as long as the block goes on."""
        self._raw.set_authorizer(self._authorize)
        try:
            yield
        finally:
            self._raw.set_authorizer(None)

    def look(self) -> None:
        """Look, at the end, for what the authorizer is not told of."""
        # A table of its own, renamed, is told to the authorizer by its old name only.
        strange = sorted(self._names_that_are_foreign() - self._foreign_names)
        self.refused += [f"the name {name!r}" for name in strange]
        self._compile_triggers()

    def _authorize(
        self, action: int, first: str | None, second: str | None, _database: str | None, _by: str | None
    ) -> int:
        touched = _strange(action, first, second, self._namespace)
        if touched is None:
            return sqlite3.SQLITE_OK
        self.refused.append(touched)
        return sqlite3.SQLITE_DENY

    def _names_that_are_foreign(self) -> set[str]:
        listed = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
        names = self._connection.exec_driver_sql(listed).scalars()
        return {name for name in names if not _is_own(name, self._namespace)}

    def _compile_triggers(self) -> None:
        """Have SQLite compile what the triggers do: it asks the authorizer then, not when one is made."""
        raw = self._raw
        tables = {row[0] for row in raw.execute("SELECT tbl_name FROM sqlite_master WHERE type = 'trigger'")}
        for table in sorted(table for table in tables if _is_own(table, self._namespace)):
            same = ", ".join(f'"{row[1]}" = "{row[1]}"' for row in raw.execute(f'PRAGMA table_info("{table}")'))
            acts = (f'INSERT INTO "{table}" DEFAULT VALUES', f'UPDATE "{table}" SET {same}', f'DELETE FROM "{table}"')  # noqa: S608
            for act in acts:
                # What it cannot compile for another reason (a view that takes no DELETE) is not for the fence to judge.
                with suppress(sqlite3.Error):
                    raw.execute(f"EXPLAIN {act}")


def _strange(action: int, first: str | None, second: str | None, namespace: Namespace) -> str | None:
    """Return, in words, what an action touches that is not the namespace's own; None when it touches nothing such."""
    if action in _NAMED_FIRST or action in _NAMED_SECOND:
        table = (first if action in _NAMED_FIRST else second) or ""
        return None if _is_own(table, namespace) else f"the table {table!r}"
    if action in _NEVER:
        return _NEVER[action]
    if action == sqlite3.SQLITE_PRAGMA and second is not None and first not in _LOOKING:
        return f"PRAGMA {first}"
    return None


def _is_own(table: str, namespace: Namespace) -> bool:
    # SQLite keeps its books in tables, and Alembic makes a table anew beside the one that it takes the place of.
    table = table.lower()
    return is_own(table.removeprefix("_alembic_tmp_"), namespace) or table.startswith("sqlite_")
