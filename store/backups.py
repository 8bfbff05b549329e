"""A backup of a SQLite database that is being written to: whole, readable by nobody else, and there or not at all."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from store.sqlite_connections import SIDE_FILES, connect
from store.sqlite_faults import unavailable_when_sick

_PATIENCE = timedelta(seconds=30)


class BackupRefused(Exception):
    """A backup that is not made, or not restored; nothing was touched."""


def back_up(source: Path, target: Path, *, replace: bool) -> int:
    """Write all that was acknowledged so far to a file of its own, checked and synced; return its size in bytes.

    It is one read transaction, and keeps no writer waiting. Raises `BackupRefused` and `StoreUnavailable`.
    """
    if not source.is_file():
        raise BackupRefused(f"there is no database file {source}: run this with the settings of the server")
    _require_free(source, target, replace=replace)
    with refused_by_the_system("the backup cannot be written"), beside(target) as fresh:
        with unavailable_when_sick(), closing(connect(source, _PATIENCE)) as connection:
            connection.execute("VACUUM INTO ?", [str(fresh)])
        require_ours(fresh, "the backup that was made")
        sync(fresh)
        if replace:
            fresh.replace(target)
        else:
            # A link appears whole or not at all, and never in the place of another file.
            try:
                os.link(fresh, target)
            except FileExistsError:
                raise BackupRefused(_exists(target)) from None
        sync(target.absolute().parent)
        return target.stat().st_size


def require_ours(path: Path, called: str) -> None:
    """Raise `BackupRefused` unless a file that nobody else has open is a whole database of Watchword's."""
    try:
        with closing(connect(path, _PATIENCE, mode="mode=ro&immutable=1")) as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise BackupRefused(f"{called} is damaged: {found}")
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in rows}
            # Whatever the revision, it has these; the others came later.
            if not {"alembic_version", "users", "sessions", "signing_keys"} <= tables:
                raise BackupRefused(f"{called} is a database, but not one of Watchword's")
            if connection.execute("SELECT count(*) FROM alembic_version").fetchone() != (1,):
                raise BackupRefused(f"{called} does not say which revision it is at")
    except sqlite3.Error as error:
        raise BackupRefused(f"{called} is damaged, or no database: {error}") from error


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Give an empty file, for nobody else to read, in the same folder; what is left of it at the end is removed."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # made with mode 0600
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        for leftover in ("", *SIDE_FILES):
            Path(f"{name}{leftover}").unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Return when a file, or what a folder lists, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def refused_by_the_system(what: str) -> Iterator[None]:
    """Turn what the operating system refuses into `BackupRefused`."""
    try:
        yield
    except OSError as error:
        raise BackupRefused(f"{what}: {error}") from error


def is_same(one: Path, other: Path) -> bool:
    """Say whether two paths lead to one file."""
    with suppress(OSError):
        return one.samefile(other)
    return False


def _require_free(source: Path, target: Path, *, replace: bool) -> None:
    if is_same(source, target):
        raise BackupRefused(f"{target} is the database itself")
    if not target.absolute().parent.is_dir():
        raise BackupRefused(f"there is no folder {target.absolute().parent}")
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise BackupRefused(f"{target} is not a file")
    if target.exists() and not replace:
        raise BackupRefused(_exists(target))
    for leftover in SIDE_FILES:
        if Path(f"{target}{leftover}").exists():
            raise BackupRefused(f"{target}{leftover} is there: something has a database of this name open")


def _exists(target: Path) -> str:
    return f"{target} exists already; --force replaces it"
