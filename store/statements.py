"""A statement, written once in SQLAlchemy Core and compiled once per dialect to the text a native driver runs.

SQLAlchemy's own execution layer is not on a request's path: a primary-key read costs 14 µs through it and 5 µs through
the driver (docs/decisions/0002-statements.md). What is kept of it is the part that is worth having: tables that are
checked, and one spelling for two databases.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Generic, TypeVar

from sqlalchemy import Executable
from sqlalchemy.engine import Dialect

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class CompiledStatement:
    """The text for one driver, and the order in which it wants its values."""

    sql: str
    arguments: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    """Puts values in the driver's order. Raises KeyError when one is missing."""


class Statement:
    """One Core construct whose `bindparam` names become the keyword arguments of `one`, `all` and `run`."""

    __slots__ = ("_compiled", "_construct")

    def __init__(self, construct: Executable) -> None:
        self._construct = construct
        self._compiled: dict[str, CompiledStatement] = {}

    def compiled(self, dialect: Dialect) -> CompiledStatement:
        """Return the text for a dialect, compiled at the first call and kept."""
        known = self._compiled.get(dialect.name)
        if known is None:
            known = self._compiled[dialect.name] = _compile(self._construct, dialect)
        return known


@dataclass(frozen=True, slots=True, eq=False)
class Question(Generic[Made]):
    """What every request asks about one row: a statement, the names of its values in order, and what its row is made.

    An engine may answer it from memory, where it can tell that the row is still the same (`Database.recall`).
    """

    statement: Statement
    asks: tuple[str, ...]
    made_of: Callable[[Sequence[Any]], Made]

    def values(self, arguments: tuple[Any, ...]) -> dict[str, Any]:
        """Return the keyword arguments of `one`."""
        return dict(zip(self.asks, arguments, strict=True))


def _compile(construct: Executable, dialect: Dialect) -> CompiledStatement:
    compiled: Any = construct.compile(dialect=dialect)  # type: ignore[attr-defined]
    names = tuple(compiled.positiontup or ())
    constants = {name: value for name, value in compiled.params.items() if not compiled.binds[name].required}
    return CompiledStatement(str(compiled), _in_order(names, constants))


def _in_order(names: tuple[str, ...], constants: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    if constants:
        return lambda values: tuple(values[name] if name in values else constants[name] for name in names)
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: tuple(values[name] for name in names)
