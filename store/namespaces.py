"""Lines of migrations: the core's, and one for each domain, whose tables bear its name."""

from dataclasses import dataclass
from pathlib import Path

from store.tables import metadata


@dataclass(frozen=True, slots=True)
class Namespace:
    """A line of revisions: the core's is called `core`, a domain's bears the domain's name."""

    name: str
    folder: Path

    @property
    def version_table(self) -> str:
        """The table that says how far this namespace has come."""
        return "alembic_version" if self.name == "core" else f"alembic_version_{self.name}"


CORE = Namespace("core", Path(__file__).parent / "migrations" / "versions")

CORE_TABLES = frozenset({*metadata.tables, CORE.version_table})

# Not the core's today, but words that its tables may well begin with tomorrow; then a domain could not move out.
_SOON = {"access", "api", "audit", "key", "oauth", "refresh", "service", "token"}
_RESERVED = frozenset({CORE.name, "sqlite", "alembic"} | _SOON)


def is_reserved(name: str) -> bool:
    """Say whether a namespace of this name would lay claim to tables of the core's, or of SQLite's or Alembic's."""
    return name in _RESERVED or any(table.startswith(f"{name}_") for table in CORE_TABLES)


def is_own(table: str, namespace: Namespace) -> bool:
    """Say whether a table is the namespace's to change; SQLite takes no notice of a name's case, so none is taken."""
    table = table.lower()
    return table not in CORE_TABLES and (table.startswith(f"{namespace.name}_") or table == namespace.version_table)
