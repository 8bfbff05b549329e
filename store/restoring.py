"""A backup put in the place of a SQLite database under a running server: the one or the other, never a mixture."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
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
from store.sqlite_connections import SIDE_FILES, connect, identity_of
from store.sqlite_faults import unavailable_when_sick
from store.tables import api_tokens, sessions

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
    backup: Path, target: Path, domains: Sequence[Namespace], revoked: Revoked, *, patience: timedelta
) -> Restored:
    """Put a backup, checked and migrated, in the place of the database, and keep that under another name.

    Raises `BackupRefused`, `StoreUnavailable` also for a backup of a newer program or when the write lock is not to be
    had, `MigrationFailed` and `MigrationRefused`. Then nothing was touched.
    """
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
            _belong_as(target, fresh)
            sync(fresh)
            with _alone_in(target, patience):
                kept = _put_in_place(fresh, target, revoked.at)
                sync(target.absolute().parent)
            if kept is not None:
                _fold_log_into(kept)
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


@contextmanager
def _alone_in(target: Path, patience: timedelta) -> Iterator[None]:
    """Hold the write lock of the database that is there, if any. Raises `StoreUnavailable` when it is not to be had."""
    if not target.exists():
        yield
        return
    file = identity_of(target)
    with unavailable_when_sick():
        connection = connect(target, patience)
    with closing(connection):
        try:
            with unavailable_when_sick():
                connection.execute("BEGIN IMMEDIATE")
        except StoreUnavailable as unavailable:
            cause = unavailable.__cause__
            if not isinstance(cause, sqlite3.Error) or cause.sqlite_errorcode & 0xFF not in _NO_DATABASE:
                raise StoreUnavailable(
                    f"somebody writes to the database for longer than {patience.total_seconds():g} seconds; "
                    f"nothing was touched: {unavailable}"
                ) from unavailable
            # What is no database can be locked by nobody, and is a reason to restore one.
        if identity_of(target) != file:
            raise StoreUnavailable("the database is being replaced by somebody else; nothing was touched")
        yield


def _put_in_place(fresh: Path, target: Path, at: datetime) -> Path | None:
    """Rename the files, or, where one cannot be, leave all as they were."""
    kept = _free_name(target, at)
    had_one = target.exists()
    # First the database, so that nobody opens it without its log; then the log, which would be applied to the new one.
    old = [(Path(f"{target}{side}"), Path(f"{kept}{side}")) for side in ("", *SIDE_FILES)]
    moves = [*((path, name) for path, name in old if path.exists()), (fresh, target)]
    done: list[tuple[Path, Path]] = []
    try:
        for path, name in moves:
            path.rename(name)
            done.append((path, name))
    except BaseException:
        for path, name in reversed(done):
            name.rename(path)
        raise
    return kept if had_one else None


def _fold_log_into(kept: Path) -> None:
    """Make what was kept one file, where nobody is in the way; with its log beside it, it is as whole."""
    with suppress(sqlite3.Error), closing(connect(kept, timedelta(0))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _free_name(target: Path, at: datetime) -> Path:
    name = f"{target}.before-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    others = (f"{name}-{number}" for number in range(2, 1_000))
    return next(path for path in map(Path, (name, *others)) if not path.exists())
