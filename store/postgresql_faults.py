"""Which of PostgreSQL's errors are a state of the world, to be tried again, and which are a defect of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from store.database import StoreUnavailable

# By the first two characters of the SQLSTATE: no connection, refused to this role, no such database, rolled back for
# another's sake, out of something, told to stop, and failures of the server's own machine.
_STATES_OF_THE_WORLD = frozenset({"08", "28", "3D", "40", "53", "57", "58", "F0", "XX"})

_READ_ONLY = "25006"

# A server that is read-only, a transaction that was left alone for too long or lasted for too long, a lock that was not
# to be had in time, and a statement whose table was changed beneath it, or that the server has forgotten.
_ALSO = frozenset({_READ_ONLY, "25P03", "25P04", "55P03", "0A000", "26000"})

# After these the connection is of no use: the statements that were prepared on it are not good any more.
_OF_THE_CONNECTION = frozenset({"0A000", "26000"})

# What the driver raises by itself. Of its own errors, those that are a ValueError too are about what it was given.
_OF_THE_DRIVER = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


@contextmanager
def unavailable_when_sick() -> Iterator[None]:
    """Raise `StoreUnavailable` for a sick database; a wrong statement stays the error that it is."""
    try:
        yield
    except Exception as error:
        raise_if_sick(error)
        raise


def raise_if_sick(error: Exception) -> None:
    """Raise `StoreUnavailable` if that is what an error of the driver amounts to."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state[:2] in _STATES_OF_THE_WORLD or state in _ALSO:
            raise StoreUnavailable(f"the database cannot be used: {_answered(error)}") from error
    elif isinstance(error, _OF_THE_DRIVER) and not isinstance(error, ValueError):
        raise StoreUnavailable("the connection to the database is gone") from error


def not_connected(error: Exception) -> StoreUnavailable:
    """Return what it means that a connection could not be made: always that the database cannot be asked."""
    if isinstance(error, StoreUnavailable):
        return error
    if isinstance(error, asyncpg.PostgresError):
        return StoreUnavailable(f"the database cannot be used: {_answered(error)}")
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return StoreUnavailable(f"the database's URL cannot be used: {error.args[0]}")
    # Not the text of another error: of a URL that cannot be read it may show a piece, and that may be a password's.
    return StoreUnavailable(f"the database cannot be reached: {type(error).__name__}")


def answer_behind(error: BaseException) -> asyncpg.PostgresError | None:
    """Return the server's answer that made the database unavailable, if it was one."""
    return error.__cause__ if isinstance(error.__cause__, asyncpg.PostgresError) else None


def is_read_only(error: BaseException) -> bool:
    """Say whether the database is unavailable because it takes no writes, or not on this connection."""
    answer = answer_behind(error)
    return answer is not None and answer.sqlstate == _READ_ONLY


def spoils_the_connection(error: BaseException) -> bool:
    """Say whether the connection on which the database was unavailable must not be used again."""
    if not isinstance(error, StoreUnavailable) or error.__cause__ is None:
        return False
    answer = answer_behind(error)
    return answer is None or answer.sqlstate in _OF_THE_CONNECTION


def _answered(error: asyncpg.PostgresError) -> str:
    return f"PostgreSQL answered {error.sqlstate} ({type(error).__name__.removesuffix('Error')})"
