"""A backup put in the place of a SQLite database under a running server: the one or the other, never a mixture.

It is written over what is there (store/writing_over.py). What is no database takes no transaction, and is exchanged for
the backup, file for file; servers that have it open follow (store/sqlite.py).
"""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Table

from store import migrate
from store.backups import BackupRefused, beside, is_same, refused_by_the_system, require_ours, sync
from store.database import StoreUnavailable
from store.instants import to_seconds
from store.locations import SQLiteFile
from store.migrate import Pending
from store.migration_connections import migrating
from store.namespaces import Namespace
from store.sqlite_connections import SIDE_FILES, connect
from store.tables import api_tokens, sessions
from store.writing_over import write_over

_NO_DATABASE = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})


@dataclass(frozen=True, slots=True)
class Revoked:
    """What is not to live again with a backup, as of an instant."""

    at: datetime
    sessions: bool = False
    api_tokens: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of it: the database that was there, if any, under its new name; and what was done to the backup."""

    kept: Path | None
    migrated: list[Pending]
    sessions_ended: int
    tokens_revoked: int


def restore(
    backup: Path,
    target: Path,
    domains: Sequence[Namespace],
    revoked: Revoked,
    settle: Callable[[Path], None],
    *,
    patience: timedelta,
) -> Restored:
    """Put a backup, checked and migrated, in the place of the database, and keep that under another name.

    `settle` is handed it once all of that is done, before anybody sees it; if it raises, nothing is restored.
    Raises `BackupRefused`, `StoreUnavailable` also for a backup of a newer program or when the write lock is not to be
    had, `MigrationFailed` and `MigrationRefused`. Then nothing was touched.
    """
    if target.is_symlink():
        target = target.resolve()  # beside which SQLite keeps the rest
    if not backup.is_file():
        raise BackupRefused(f"there is no file {backup}")
    if is_same(backup, target):
        raise BackupRefused(f"{backup} is the database itself")
    with refused_by_the_system("the backup cannot be restored"):
        target.absolute().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with beside(target) as fresh:
            _copy(backup, fresh)
            require_ours(fresh, str(backup))
            migrate.pending(SQLiteFile(fresh), domains)  # raises for what is newer
            migrated = migrate.upgrade(SQLiteFile(fresh), domains)
            ended, tokens = migrating(SQLiteFile(fresh), lambda connection: _revoke(connection, revoked))
            settle(fresh)
            _belong_as(target, fresh)
            sync(fresh)
            kept = _take_place(fresh, target, revoked.at, patience)
    return Restored(kept, migrated, ended, tokens)


def _copy(backup: Path, fresh: Path) -> None:
    # A database that was kept by a restore has its last commits in the log beside it. What has none is not written to
    # on any account, not even beside it.
    if Path(f"{backup}-journal").exists():
        raise BackupRefused(f"{backup} is unfinished: with it is a {backup}-journal of what has to be taken back")
    log = Path(f"{backup}-wal")
    mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    try:
        with closing(connect(backup, timedelta(seconds=2), mode=mode)) as source:
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            with closing(connect(fresh, timedelta(seconds=2))) as copy:
                source.backup(copy)
    except sqlite3.Error as error:
        raise BackupRefused(f"{backup} is damaged, or no database: {error}") from error


def _revoke(connection: Connection, revoked: Revoked) -> tuple[int, int]:
    instant = to_seconds(revoked.at)

    def all_live(table: Table) -> int:
        live = table.update().where(table.c.revoked_at.is_(None), table.c.expires_at > instant)
        return connection.execute(live.values(revoked_at=instant)).rowcount

    return all_live(sessions) if revoked.sessions else 0, all_live(api_tokens) if revoked.api_tokens else 0


def _belong_as(target: Path, fresh: Path) -> None:
    """Give a file to whom the database belongs: root may well be who restores it, and is not who serves it."""
    if os.geteuid() == 0:
        owner = (target if target.exists() else target.absolute().parent).stat()
        os.chown(fresh, owner.st_uid, owner.st_gid)


def _take_place(fresh: Path, target: Path, at: datetime, patience: timedelta) -> Path | None:
    """Put a database in the place of what is there; return where that is kept, if anything was."""
    kept = _free_name(target, at)
    if not target.exists():
        _exchange(fresh, target, kept)
        return None
    try:
        write_over(fresh, target, kept, patience)
    except StoreUnavailable as unavailable:
        cause = unavailable.__cause__
        if not isinstance(cause, sqlite3.Error) or cause.sqlite_errorcode & 0xFF not in _NO_DATABASE:
            raise StoreUnavailable(
                f"the database cannot be written over; nothing was touched: {unavailable}"
            ) from cause
        _exchange(fresh, target, kept)
    else:
        _belong_as(target, kept)
    return kept


def _exchange(fresh: Path, target: Path, kept: Path) -> None:
    """Rename files. There is one at the path at every moment: a server that starts makes one where there is none."""
    for side in SIDE_FILES:  # which would be applied to the new one
        if Path(f"{target}{side}").exists():
            Path(f"{target}{side}").rename(f"{kept}{side}")
    if target.exists():
        os.link(target, kept)
    fresh.replace(target)
    sync(target.absolute().parent)


def _free_name(target: Path, at: datetime) -> Path:
    name = f"{target}.before-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    others = (f"{name}-{number}" for number in range(2, 1_000))
    return next(path for path in map(Path, (name, *others)) if not path.exists())
