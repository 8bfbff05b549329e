"""The fence on PostgreSQL: when a migration has run, its locks and the catalogs tell what it has touched.

Whatever a transaction writes to it holds a lock on until its end, and nobody else's doings are among its locks. Adding
a foreign key, or dropping one, locks the table that is referred to as strongly as changing it would, so those are told
apart by the catalogs. The end of the transaction, which would make everything that came before it stay, is refused
before it is done.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event

from store.namespaces import Namespace, is_own
from store.postgresql_catalogs import Catalogs, Thing

_TRANSACTION = "the transaction it runs in"

# BEGIN changes nothing where a transaction is under way, but says that the migration takes it for its own.
_ENDS_A_TRANSACTION = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
    r"(?:COMMIT|END|ABORT|BEGIN|(?:START|PREPARE)\s+TRANSACTION|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b))\b",
    re.IGNORECASE | re.DOTALL,
)

# What a function or a rule of the domain's would do to a table, if it says so: PostgreSQL looks when it is called.
_WRITES = (
    r"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO|TRUNCATE(?:\s+TABLE)?|(?:ALTER|DROP)\s+TABLE)"
    r"\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(?:\"?\w+\"?\s*\.\s*)?\"?(?P<table>{names})\"?(?!\w)"
)


class Fence:
    """Stands around one namespace on one connection; `refused` is what was touched, in words."""

    def __init__(self, connection: Connection, namespace: Namespace) -> None:
        self.refused: list[str] = []
        self._connection = connection
        self._namespace = namespace
        self._before = Catalogs.read(connection)

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Refuse the end of the transaction, as long as the block goes on."""
        event.listen(self._connection, "before_cursor_execute", self._read_statement)
        for end in ("commit", "rollback"):
            event.listen(self._connection, end, self._refuse_the_end)
        try:
            yield
        finally:
            event.remove(self._connection, "before_cursor_execute", self._read_statement)
            for end in ("commit", "rollback"):
                event.remove(self._connection, end, self._refuse_the_end)

    def look(self) -> None:
        """Look, at the end, for what was touched."""
        before, after = self._before, Catalogs.read(self._connection)
        if after.transaction != before.transaction:
            self.refused.append(_TRANSACTION)
        for key in sorted(before.things.keys() | after.things.keys()):
            was, now = before.things.get(key), after.things.get(key)
            if all(thing is None or self._is_own(thing, after) for thing in (was, now)):
                continue
            # In another schema only what this transaction has locked: others may be at work there.
            is_near = any(thing is not None and thing.schema == before.schema for thing in (was, now))
            if key in after.written or (was != now and (is_near or key in after.locked)):
                self.refused.append(str(was or now))
        foreign = [thing.name for thing in after.things.values() if thing.is_table and not self._is_own(thing, after)]
        writes = re.compile(_WRITES.format(names="|".join(map(re.escape, foreign))), re.IGNORECASE)
        for name, text in after.read_texts(self._connection, lambda thing: self._is_own(thing, after)):
            if found := writes.search(text):
                self.refused.append(f"the table {found['table'].lower()!r}, in {name!r}")

    def _is_own(self, thing: Thing, after: Catalogs) -> bool:
        # A temporary table is nobody else's, but would stand before a table of the same name.
        return thing.schema in {self._before.schema, after.temporary_schema} and is_own(thing.name, self._namespace)

    def _read_statement(self, _connection: Connection, _cursor: Any, statement: str, *_others: Any) -> None:
        if _ENDS_A_TRANSACTION.match(statement):
            self._refuse_the_end()

    def _refuse_the_end(self, *_connection: Connection) -> None:
        self.refused.append(_TRANSACTION)
        raise PermissionError(_TRANSACTION)
