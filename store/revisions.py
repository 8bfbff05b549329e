"""Where a database that is open stands in its migrations, by one small read for each line of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import column, select, table

from store.database import Reader
from store.statements import Statement


@dataclass(frozen=True, slots=True)
class Revisions:
    """What a program knows of one line of migrations: the last revision, and those before it."""

    namespace: str
    version_table: str
    head: str | None
    older: frozenset[str]
    _read: Statement = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        statement = Statement(select(column("version_num")).select_from(table(self.version_table)))
        object.__setattr__(self, "_read", statement)

    async def is_behind(self, reader: Reader) -> bool:
        """Say whether the database has to be migrated for this program. Raises `StoreUnavailable`.

        One that is ahead was migrated by a newer program, which leaves the older one what it needs.
        """
        if self.head is None:
            return False
        row = await reader.one(self._read)
        return row is None or row[0] in self.older


async def namespaces_behind(reader: Reader, revisions: Iterable[Revisions]) -> list[str]:
    """Return the lines of migrations that have not come as far as this program. Raises `StoreUnavailable`."""
    return [line.namespace for line in revisions if await line.is_behind(reader)]
