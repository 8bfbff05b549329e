"""What PostgreSQL's catalogs say of every table and view, and of what belongs to each: as text, to be compared."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Connection

_NOT_THE_SERVERS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' OR n.oid = pg_my_temp_schema()"

# An index counts with its table, and so does the sequence that numbers a table's rows. What is left out of a relation's
# row are counts of the server's own, and hints that are wrong at times.
_RELATIONS = f"""
WITH near AS (
    SELECT c.*, n.nspname, coalesce(
        (SELECT i.indrelid FROM pg_index i WHERE i.indexrelid = c.oid),
        (SELECT d.refobjid FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
            AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND c.relkind = 'S' LIMIT 1),
        c.oid
    ) AS belongs_to
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE ({_NOT_THE_SERVERS}) AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
)
SELECT belongs_to, oid, nspname, relname, relkind::text,
    (to_jsonb(near) - ARRAY['relpages', 'reltuples', 'relallvisible', 'relallfrozen', 'relfrozenxid', 'relminmxid',
        'relhasindex', 'relhasrules', 'relhastriggers', 'relhassubclass'])::text
FROM near
"""  # noqa: S608 - of our own text alone

# The triggers that keep a foreign key stand on both tables, and count with the one that the key is of.
_OF_RELATIONS = """
SELECT attrelid, t::text FROM pg_attribute t WHERE attnum > 0
UNION ALL SELECT adrelid, t::text FROM pg_attrdef t
UNION ALL SELECT conrelid, t::text FROM pg_constraint t WHERE conrelid <> 0
UNION ALL SELECT indrelid, t::text FROM pg_index t
UNION ALL SELECT ev_class, t::text FROM pg_rewrite t
UNION ALL SELECT polrelid, t::text FROM pg_policy t
UNION ALL SELECT inhparent, t::text FROM pg_inherits t
UNION ALL SELECT stxrelid, t::text FROM pg_statistic_ext t
UNION ALL SELECT coalesce((SELECT k.conrelid FROM pg_constraint k WHERE t.tgisinternal AND k.oid = t.tgconstraint),
    t.tgrelid), t::text FROM pg_trigger t
"""

# What an extension brings is the extension's. The types of rows and of arrays come and go with others.
_OTHERS = f"""
SELECT catalog::text, oid, schema, name, kind, text FROM (
    SELECT 'pg_proc'::regclass AS catalog, p.oid, n.nspname AS schema, p.proname AS name, 'function' AS kind,
        p::text AS text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {_NOT_THE_SERVERS}
    UNION ALL SELECT 'pg_type'::regclass, t.oid, n.nspname, t.typname, 'type', t::text
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE t.typtype <> 'c' AND t.typcategory <> 'A' AND ({_NOT_THE_SERVERS})
    UNION ALL SELECT 'pg_namespace'::regclass, n.oid, current_schema(), n.nspname, 'schema', n::text
        FROM pg_namespace n WHERE n.nspname !~ '^pg_'
) AS things
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = catalog AND d.objid = things.oid AND d.deptype = 'e')
"""  # noqa: S608 - of our own text alone

_MODES_OF_WRITES = "'RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ExclusiveLock'"
_LOCKS = f"""
SELECT relation, mode IN ({_MODES_OF_WRITES}) FROM pg_locks
WHERE locktype = 'relation' AND pid = pg_backend_pid() AND mode NOT IN ('AccessShareLock', 'RowShareLock')
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""  # noqa: S608 - of our own text alone

_WHERE_AND_WHEN = """
SELECT current_schema(), coalesce((SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()), ''),
    pg_current_xact_id()::text
"""

_TEXTS = """
SELECT 'pg_proc', oid, pg_get_functiondef(oid) FROM pg_proc WHERE prokind <> 'a'
    AND pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
UNION ALL SELECT 'pg_class', ev_class, pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename <> '_RETURN'
"""

# The catalog, and the number in it: a function may have the number of a table.
Key = tuple[str, int]

_KINDS = {"r": "table", "p": "table", "f": "table", "v": "view", "m": "view", "S": "sequence", "c": "type"}


@dataclass(frozen=True, slots=True)
class Thing:
    """A table with all that belongs to it; or a view, a sequence, a type, a function, a schema."""

    kind: str
    schema: str
    name: str
    texts: tuple[str, ...]

    @property
    def is_table(self) -> bool:
        """Whether it has rows that are written to."""
        return self.kind == "table"

    def __str__(self) -> str:
        return f"the {self.kind} {self.name!r}"


@dataclass(frozen=True, slots=True)
class Catalogs:
    """Everything there is, by its number, and what this transaction holds of it."""

    schema: str
    temporary_schema: str
    transaction: str
    things: dict[Key, Thing]
    locked: frozenset[Key]
    written: frozenset[Key]

    @classmethod
    def read(cls, connection: Connection) -> Self:
        """Read everything, as this transaction sees it now."""
        ask = connection.exec_driver_sql
        ((schema, temporary, transaction),) = ask(_WHERE_AND_WHEN)
        locks = ask(_LOCKS).all()
        return cls(
            schema,
            temporary,
            transaction,
            _things(connection),
            frozenset(("pg_class", relation) for relation, _ in locks),
            frozenset(("pg_class", relation) for relation, is_write in locks if is_write),
        )

    def read_texts(self, connection: Connection, of: Callable[[Thing], bool]) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of every function, and of every rule of a table or view, of these things."""
        for catalog, oid, text in connection.exec_driver_sql(_TEXTS):
            thing = self.things.get((catalog, oid))
            if thing is not None and of(thing):
                yield thing.name, text


def _things(connection: Connection) -> dict[Key, Thing]:
    texts: defaultdict[Key, list[str]] = defaultdict(list)
    heads: dict[Key, tuple[str, str, str]] = {}
    for belongs_to, oid, schema, name, kind, text in connection.exec_driver_sql(_RELATIONS):
        texts["pg_class", belongs_to].append(text)
        if oid == belongs_to:
            heads["pg_class", oid] = (_KINDS.get(kind, "relation"), schema, name)
    for oid, text in connection.exec_driver_sql(_OF_RELATIONS):
        texts["pg_class", oid].append(text)
    for catalog, oid, schema, name, kind, text in connection.exec_driver_sql(_OTHERS):
        texts[catalog, oid].append(text)
        heads[catalog, oid] = (kind, schema, name)
    return {key: Thing(*head, tuple(sorted(texts[key]))) for key, head in heads.items()}
