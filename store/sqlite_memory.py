"""Rows that every request asks for, remembered for as long as nobody has committed anything.

SQLite tells, for half of what such a read costs, whether any connection of any process has committed since it was last
asked. If none has, the row is what it was: nothing is ever answered that the file would not answer at this moment.
"""

import sqlite3
from collections.abc import Callable
from typing import Any

from store.database import Row
from store.sqlite_faults import raise_if_sick
from store.statements import Statement

# Each takes about half a kilobyte.
_MOST = 10_000


class RememberedRows:
    """The memory of one connection, which it must not outlive."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._execute = raw.execute
        self._version = -1
        self._rows: dict[tuple[Any, ...], Row] = {}

    def first(self, statement: Statement, arguments: tuple[Any, ...], ask: Callable[[], Row | None]) -> Row | None:
        """Return the first row, by asking only if something was committed since it was asked for.

        Raises `StoreUnavailable`.
        """
        rows = self._rows
        try:
            version = self._execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise_if_sick(error)
            raise
        if version != self._version:
            rows.clear()
            # What is asked from now on may be newer than this, but never older.
            self._version = version
        key = (statement, *arguments)
        row = rows.get(key)
        if row is None:
            row = ask()
            if row is not None:
                if len(rows) >= _MOST:
                    rows.pop(next(iter(rows)))
                rows[key] = row
        return row
