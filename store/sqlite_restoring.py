"""Putting a database in the place of the one that is in use, which is kept beside it; all of it at once, or nothing.

Files are not exchanged where that can be helped: a log belongs to a path, and servers have the old file open. Instead
the pages are written over, in one transaction of SQLite's own. Whoever reads sees the old database until it commits and
the new one after it, whoever writes waits, and a crash leaves the one or the other. Nothing has to be opened anew.

A file that is no database any more takes no transaction. It is exchanged, once its log has been taken away from the
path, and servers that have it open follow (store/sqlite.py).
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from store.database import StoreUnavailable
from store.sqlite_backups import BackupRefused, copy, examined, fresh_file, sync
from store.sqlite_faults import unavailable_when_sick
from store.sqlite_files import connected, index_of, log_of

_PATIENCE = timedelta(seconds=10)
_ATTEMPTS = 3


@contextmanager
def staged(backup: Path, live: Path) -> Iterator[Path]:
    """Give a copy of a backup, in the folder of the database whose place it is to take. Raises `BackupRefused`."""
    if not backup.is_file():
        raise BackupRefused(f"there is no file {backup}")
    if live.exists() and backup.samefile(live):
        raise BackupRefused(f"{backup} is the database itself")
    examined(backup)
    try:
        live = live.resolve()
        live.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with fresh_file(live) as fresh:
            copy(backup, fresh, _page_size(live))
            yield fresh
    except OSError as error:
        raise BackupRefused(f"nothing can be written beside {live}: {error.strerror}") from error


def put_in_place(fresh: Path, live: Path, now: datetime) -> Path | None:
    """Let a database that nobody has open take the place of another; return where that one is kept, if there was one.

    Raises `BackupRefused` and `StoreUnavailable`; then everything is as it was.
    """
    live = live.resolve()
    kept = live.with_name(f"{live.name}.until-{now:%Y%m%dT%H%M%SZ}")
    if os.path.lexists(kept):
        raise BackupRefused(f"{kept} exists already: try again in a second")
    if not live.exists():
        _exchange(fresh, live, kept)
        return None
    try:
        with unavailable_when_sick():
            _write_over(fresh, live, kept)
    except StoreUnavailable as error:
        if not _is_beyond_a_transaction(error):
            raise
        _exchange(fresh, live, kept)
    return kept


def _page_size(live: Path) -> int | None:
    # In WAL mode pages can be written over by pages of the same size only.
    if not live.exists():
        return None
    try:
        with closing(connected(live, _PATIENCE)) as database:
            return int(database.execute("PRAGMA page_size").fetchone()[0])
    except sqlite3.Error:
        return None


def _write_over(fresh: Path, live: Path, kept: Path) -> None:
    with closing(connected(fresh, _PATIENCE)) as source, closing(connected(live, _PATIENCE)) as target:
        target.execute("PRAGMA journal_mode = WAL")
        target.execute("PRAGMA synchronous = FULL")
        source.execute("BEGIN")
        refusals = 0

        def keep_first(status: int, _remaining: int, _pages: int) -> None:
            nonlocal refusals
            if status & 0xFF == sqlite3.SQLITE_BUSY:
                refusals += 1
                if refusals == _ATTEMPTS:
                    raise StoreUnavailable("the write lock was not to be had in time")
            elif status == sqlite3.SQLITE_OK and not kept.exists():
                # From the first page on nobody else writes: what is kept has everything that was ever acknowledged.
                _keep(live, kept)

        try:
            source.backup(target, pages=1, progress=keep_first)
        except BaseException:
            kept.unlink(missing_ok=True)
            raise
        # Otherwise the log stays as large as the whole database was; whoever is reading at this moment prevents it.
        target.execute("PRAGMA busy_timeout = 0")
        target.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _keep(live: Path, kept: Path) -> None:
    # Page by page, as it is: of a damaged database that is all there is to keep.
    os.close(os.open(kept, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with closing(connected(live, _PATIENCE)) as source, closing(connected(kept, _PATIENCE)) as target:
        source.backup(target)
    sync(kept)
    sync(kept.parent)


def _exchange(fresh: Path, live: Path, kept: Path) -> None:
    sync(fresh)
    for beside in (log_of, index_of):
        if beside(live).exists():
            beside(live).rename(beside(kept))
    if live.exists():
        os.link(live, kept)
    fresh.replace(live)  # there is no moment without a database, in which a server that starts would make an empty one
    sync(live.parent)


def _is_beyond_a_transaction(error: StoreUnavailable) -> bool:
    code = getattr(error.__cause__, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code & 0xFF in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
