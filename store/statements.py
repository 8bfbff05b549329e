"""A statement, written once in SQLAlchemy Core and compiled once per dialect to the text a native driver runs.

SQLAlchemy's own execution layer is not on a request's path: a primary-key read costs 14 µs through it and 5 µs through
the driver (docs/decisions/0002-statements.md). What is kept of it is the part that is worth having: tables that are
checked, and one spelling for two databases.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.engine import Dialect


@dataclass(frozen=True, slots=True)
class CompiledStatement:
    """The text for one driver, and the order in which it wants its values."""

    sql: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Put values in the driver's order. Raises KeyError when one is missing."""
        constants = self.constants
        if not constants:
            return [values[name] for name in self.names]
        return [values[name] if name in values else constants[name] for name in self.names]


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


def _compile(construct: Executable, dialect: Dialect) -> CompiledStatement:
    compiled: Any = construct.compile(dialect=dialect)  # type: ignore[attr-defined]
    names = tuple(compiled.positiontup or ())
    constants = {name: value for name, value in compiled.params.items() if not compiled.binds[name].required}
    return CompiledStatement(str(compiled), names, constants)
