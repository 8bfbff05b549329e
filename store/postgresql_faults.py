"""Which of PostgreSQL's errors are a state of the world, to be tried again, and which are a defect of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from store.database import StoreUnavailable

# By the first two characters of the SQLSTATE: no connection, refused to this role, no such database, rolled back for
# another's sake, out of something, told to stop, and failures of the server's own machine.
_STATES_OF_THE_WORLD = frozenset({"08", "28", "3D", "40", "53", "57", "58", "F0", "XX"})

# A server that is read-only, a lock that was not to be had in time, a transaction that was left alone for too long, and
# a statement whose table was changed beneath it.
_ALSO = frozenset({"25006", "25P03", "55P03", "0A000"})

# After these the connection is of no use: what is on the other side is not the server that takes writes, or not in the
# state that it was asked in.
_OF_THE_CONNECTION = frozenset({"25006", "0A000"})


@contextmanager
def unavailable_when_sick() -> Iterator[None]:
    """Raise `StoreUnavailable` for a sick database; a wrong statement stays the error that it is."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        raise_if_sick(error)
        raise


def raise_if_sick(error: Exception) -> None:
    """Raise `StoreUnavailable` if that is what an error of the driver amounts to."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state[:2] in _STATES_OF_THE_WORLD or state in _ALSO:
            raise StoreUnavailable(f"the database cannot be used: PostgreSQL answered {state}") from error
    elif isinstance(error, OSError):  # a TimeoutError is one
        raise StoreUnavailable(f"the database cannot be reached: {type(error).__name__}") from error
    elif isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError)):
        # The connection is closed, or is being closed.
        raise StoreUnavailable("the connection to the database is gone") from error


def spoils_the_connection(error: BaseException) -> bool:
    """Say whether a connection must not be used again after this."""
    return not isinstance(error, asyncpg.PostgresError) or error.sqlstate in _OF_THE_CONNECTION
