"""Which of SQLite's errors are a state of the world, to be tried again, and which are a defect of ours."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from store.database import StoreUnavailable

_STATES_OF_THE_WORLD = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)


@contextmanager
def unavailable_when_sick() -> Iterator[None]:
    """Raise `StoreUnavailable` for a sick database; a wrong statement stays the error that it is."""
    try:
        yield
    except sqlite3.Error as error:
        raise_if_sick(error)
        raise
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise_if_sick(error.orig)
        raise


def raise_if_sick(error: sqlite3.Error) -> None:
    """Raise `StoreUnavailable` if that is what an error of the driver amounts to."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # Raised by the module and not by SQLite: the connection is closed. A wrong statement has a code.
        if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
            raise StoreUnavailable("the database is closed") from error
    elif code & 0xFF in _STATES_OF_THE_WORLD:
        raise StoreUnavailable(f"the database cannot be used: SQLite answered {error.sqlite_errorname}") from error
