"""Backups of a SQLite file that is in use: a whole copy as of one moment, looked through before it bears its name.

`VACUUM INTO` reads in one transaction, which in WAL mode keeps nobody from writing, and leaves out what was deleted.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from store.instants import from_seconds
from store.sqlite_faults import unavailable_when_sick
from store.sqlite_files import connected, index_of, log_of, revisions_in

_PATIENCE = timedelta(seconds=30)
_CORE = "alembic_version"


class BackupRefused(Exception):
    """A backup was not made, or not put back: it says why, and everything is as it was."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a copy has in it: the core's revision, how many bytes, and when the last act in it was recorded."""

    revision: str
    size: int
    last_act: datetime | None


def write_backup(source: Path, target: Path, *, overwrite: bool) -> Contents:
    """Copy a database, in use or not, to a file of mode 0600; it appears when it is whole and on the disk, or never.

    Raises `BackupRefused`, also where there is such a file and it is not to be overwritten, and `StoreUnavailable`.
    """
    _require_room(source, target, overwrite=overwrite)
    with _sentences(target), fresh_file(target) as fresh:
        copy(source, fresh)
        contents = examined(fresh)
        sync(fresh)
        if overwrite:
            fresh.replace(target)
        else:
            os.link(fresh, target)  # which takes no other file's place, as a rename would
        sync(target.parent)
    return contents


def copy(source: Path, target: Path, page_size: int | None = None) -> None:
    """Copy what is committed in a database at this moment into an empty file. Raises `StoreUnavailable`."""
    with unavailable_when_sick(), closing(connected(source, _PATIENCE)) as database:
        if page_size is not None:
            database.execute(f"PRAGMA page_size = {page_size}")
        database.execute("VACUUM INTO ?", [str(target)])


def examined(path: Path) -> Contents:
    """Return what a database has in it, once all of it was looked through. Raises `BackupRefused`."""
    try:
        with closing(connected(path, _PATIENCE)) as database:
            found = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok" or database.execute("PRAGMA foreign_key_check").fetchone():
                raise BackupRefused(f"{path} is damaged: {found if found != 'ok' else 'a row refers to none'}")
            revision = revisions_in(database).get(_CORE)
            if revision is None:
                raise BackupRefused(f"{path} is no database of Watchword's")
            last = database.execute("SELECT at FROM audit_events ORDER BY id DESC LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise BackupRefused(f"{path} is no database of Watchword's, or is damaged: {error}") from error
    return Contents(revision, path.stat().st_size, None if last is None else from_seconds(last[0]))


@contextmanager
def fresh_file(beside: Path) -> Iterator[Path]:
    """Give an empty file of mode 0600 in the same folder, and take it away, with what belongs to it, if it is there."""
    descriptor, name = tempfile.mkstemp(dir=beside.parent, prefix=f".{beside.name}.")
    os.close(descriptor)
    path = Path(name)
    try:
        yield path
    finally:
        for file in (path, log_of(path), index_of(path)):
            file.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Return when a file, or the names in a folder, are on the disk. Nobody else may have the database open here."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _require_room(source: Path, target: Path, *, overwrite: bool) -> None:
    own = {file.resolve() for file in (source, log_of(source), index_of(source))}
    if target.resolve() in own:
        raise BackupRefused(f"{target} is the database itself")
    if target.is_dir():
        raise BackupRefused(f"{target} is a folder: name a file in it")
    if os.path.lexists(target) and not overwrite:
        raise BackupRefused(_sentence_of_existing(target))


@contextmanager
def _sentences(target: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise BackupRefused(_sentence_of_existing(target)) from error
    except OSError as error:
        raise BackupRefused(f"{target} cannot be written: {error.strerror}") from error


def _sentence_of_existing(target: Path) -> str:
    return f"{target} exists already: name another file, or use --force"
