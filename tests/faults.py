"""Databases that fail, as other programs and full disks make them."""

import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

from tests.house import House

Fault = Callable[[House], AbstractContextManager[None]]


@contextmanager
def locked(house: House) -> Iterator[None]:
    """Hold the write lock, as another program may."""
    with closing(sqlite3.connect(house.database_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def full(house: House) -> Iterator[None]:
    """Let no file of this process grow beyond what the log of the database has: a COMMIT fails, and nothing before."""
    log = house.database_file.with_name(house.database_file.name + "-wal")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
