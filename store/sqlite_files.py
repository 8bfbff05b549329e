"""What a path of SQLite's stands for at this moment: a file, and the log and the index that lie beside it.

These two belong to the path and not to the file: a log that was left beside another file would be applied to it. So
whoever puts a file in another one's place takes them away first, and whoever follows looks whether that was done.
"""

import os
import sqlite3
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from store.database import StoreUnavailable

Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Files:
    """Which three files there are at a path; None for one that is not there."""

    main: Inode | None
    log: Inode | None
    index: Inode | None

    def left(self, before: "Files") -> bool:
        """Say whether something is still there that belonged to the file of before."""
        return self.main != before.main and bool({self.log, self.index} & ({before.log, before.index} - {None}))


def log_of(path: Path) -> Path:
    """Return where the log of a file is, which has what was committed and is not in the file yet."""
    return path.with_name(f"{path.name}-wal")


def index_of(path: Path) -> Path:
    """Return where the index of the log is, which those share who have the file open."""
    return path.with_name(f"{path.name}-shm")


def inode_of(path: Path) -> Inode | None:
    """Return what is at a path, without opening it: to close it again would end this process's locks on it."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half of what Path.stat costs, and every write pays for it
    except OSError:
        return None
    return found.st_dev, found.st_ino


def files_at(path: Path) -> Files:
    """Return which files are at a path at this moment."""
    real = Path(os.path.realpath(path))  # beside which SQLite puts the other two, and not beside a link to it
    return Files(inode_of(real), inode_of(log_of(real)), inode_of(index_of(real)))


def connected(path: Path, patience: timedelta, *, check_same_thread: bool = True) -> sqlite3.Connection:
    """Connect to a file that is there; none is made. Raises `StoreUnavailable` for one that is not, and sqlite3's."""
    before = inode_of(path)
    if before is None:
        raise StoreUnavailable(f"there is no database file {path}")
    raw = sqlite3.connect(
        f"file:{quote(os.fspath(path))}?mode=rw",
        uri=True,
        timeout=patience.total_seconds(),
        isolation_level=None,
        check_same_thread=check_same_thread,
    )
    if inode_of(path) != before:
        raw.close()
        raise StoreUnavailable("the database file was replaced at this moment")
    return raw


def revisions_in(raw: sqlite3.Connection) -> dict[str, str | None]:
    """Return how far each line of migrations has come in a file, by the table that says so."""
    named = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'alembic\\_version%' ESCAPE '\\'"
    tables = [row[0] for row in raw.execute(named).fetchall()]
    rows = {table: raw.execute(f'SELECT version_num FROM "{table}"').fetchone() for table in tables}  # noqa: S608
    return {table: None if row is None else str(row[0]) for table, row in rows.items()}
