"""A database written over by another, page by page, in one transaction of SQLite's own.

Whoever reads sees the old one until it commits and the new one after it; whoever writes waits; a crash at any moment
leaves the one or the other. No file is exchanged: nothing has to be opened anew, and no log lies beside another's file.
"""

import os
import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from store.backups import sync
from store.database import StoreUnavailable
from store.sqlite_connections import connect
from store.sqlite_faults import unavailable_when_sick


def write_over(fresh: Path, target: Path, kept: Path, patience: timedelta) -> None:
    """Write one database over another, which is copied to the new file `kept` once nobody else writes to it.

    Raises `StoreUnavailable`; then nothing was touched.
    """
    with (
        unavailable_when_sick(),
        closing(connect(fresh, patience)) as source,
        closing(connect(target, patience)) as written,
    ):
        written.execute("PRAGMA journal_mode = WAL")
        written.execute("PRAGMA synchronous = FULL")
        _with_pages_as_in(written, source)
        deadline = time.monotonic() + patience.total_seconds()
        is_ours = False

        def keep_first(status: int, _remaining: int, _pages: int) -> None:
            nonlocal is_ours
            if status & 0xFF == sqlite3.SQLITE_BUSY and time.monotonic() >= deadline:
                raise StoreUnavailable("the write lock was not to be had in time")
            if status == sqlite3.SQLITE_OK and not is_ours:
                # From the first page on nobody else writes: what is kept has everything that was ever acknowledged.
                is_ours = True
                _keep(target, kept)

        try:
            source.backup(written, pages=1, progress=keep_first, sleep=0.05)
        except BaseException:
            kept.unlink(missing_ok=True)
            raise
        # Or the log stays as large as the database is. Whoever reads or writes at this moment is not waited for.
        written.execute("PRAGMA busy_timeout = 0")
        written.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        written.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _with_pages_as_in(written: sqlite3.Connection, source: sqlite3.Connection) -> None:
    # Beside a log, pages can be written over by pages of their own size alone.
    (size,) = written.execute("PRAGMA page_size").fetchone()
    if source.execute("PRAGMA page_size").fetchone() != (size,):
        source.execute("PRAGMA journal_mode = DELETE")
        source.execute(f"PRAGMA page_size = {size}")
        source.execute("VACUUM")


def _keep(target: Path, kept: Path) -> None:
    # As it is: of a damaged database, that is all there is to keep.
    os.close(os.open(kept, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with closing(connect(target, timedelta(0))) as source, closing(connect(kept, timedelta(0))) as copy:
        source.backup(copy)
    sync(kept)
    sync(kept.absolute().parent)
