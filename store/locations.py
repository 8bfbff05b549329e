"""Where an installation's database is: a file of SQLite's, or a server of PostgreSQL's."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_SQLITE = "sqlite:///"
_POSTGRESQL = ("postgresql://", "postgres://")


@dataclass(frozen=True, slots=True)
class SQLiteFile:
    """A file on this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True, repr=False)
class PostgreSQL:
    """A database of a server's, by the URI that libpq reads too. It may hold a password, so it is not shown."""

    uri: str

    def __str__(self) -> str:
        """Return where it is, and nothing of who asks."""
        read = urlsplit(self.uri)
        return f"PostgreSQL at {read.netloc.rpartition('@')[2] or 'a local socket'}{read.path}"

    def __repr__(self) -> str:
        return f"PostgreSQL({str(self)!r})"


Location = SQLiteFile | PostgreSQL


def read_location(url: str) -> Location:
    """Return where a URL says that the database is. Raises ValueError, without a word of the URL."""
    if url.startswith(_POSTGRESQL):
        try:
            _ = urlsplit(url)
        except ValueError:
            raise ValueError("is not a URL: what stands in its password may have to be written as %xx") from None
        return PostgreSQL(url)
    path = url.removeprefix(_SQLITE)
    if path == url or path in {"", ":memory:"}:
        raise ValueError(
            "must be sqlite:///path/to/file (sqlite:////absolute/path) or postgresql://user:password@host/database"
        )
    return SQLiteFile(Path(path))
