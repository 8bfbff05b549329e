"""Selections of plain objects, compiled: where every field is an attribute, there is nothing to resolve.

graphql-core asks of each value of each field whether it can be awaited, keeps the path to it, and looks its type up
anew. A list of fifty objects takes it a millisecond and a half; read as what it is, a tenth of that. What is not plain
after all (an attribute that is missing, a value of another type, null where there may be none) is given back to
graphql-core, which begins with that object anew and says what is wrong with it, and where.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    Undefined,
    is_specified_scalar_type,
)
from strawberry.execution.is_awaitable import optimized_is_awaitable
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

Reading = Callable[[Any], Any]

_LARGEST_INT = 2**31


class NotPlain(Exception):
    """A value that is graphql-core's to complete."""


class Plans:
    """What was compiled of one document, which must have no directives: what they leave out differs by request."""

    def __init__(self) -> None:
        # By the type and the places of the selection; the document that they are in lives as long as this does.
        self._readings: dict[tuple[int, ...], Reading | None] = {}

    def reading(self, executor: Any, kind: GraphQLOutputType, details: Sequence[Any]) -> Reading | None:
        """Return what reads a value of this type for this selection, or None if it is not plain."""
        key = (id(kind), *[id(each.node) for each in details])
        try:
            return self._readings[key]
        except KeyError:
            reading = self._readings[key] = _compiled(executor, kind, details)
            return reading


def _compiled(executor: Any, kind: GraphQLOutputType, details: Sequence[Any]) -> Reading | None:
    """Return what reads a value that is not null."""
    if isinstance(kind, GraphQLNonNull):
        return _compiled(executor, kind.of_type, details)
    if isinstance(kind, GraphQLList):
        return _list(_perhaps_null(executor, kind.of_type, details))
    if isinstance(kind, GraphQLObjectType):
        return _object(executor, kind, details)
    if isinstance(kind, (GraphQLScalarType, GraphQLEnumType)):
        return _leaf(kind)
    return None


def _perhaps_null(executor: Any, kind: GraphQLOutputType, details: Sequence[Any]) -> Reading | None:
    reading = _compiled(executor, kind, details)
    if reading is None:
        return None
    if isinstance(kind, GraphQLNonNull):
        return reading  # no reading takes None
    return lambda value: None if value is None else reading(value)


def _list(item: Reading | None) -> Reading | None:
    if item is None:
        return None

    def read(value: Any) -> list[Any]:
        if type(value) is not list and type(value) is not tuple:
            raise NotPlain
        return [item(each) for each in value]

    return read


def _object(executor: Any, kind: GraphQLObjectType, details: Sequence[Any]) -> Reading | None:
    members: list[tuple[str, str, Reading]] = []
    names: dict[str, str] = {}
    for response_name, of_field in executor.collect_subfields(kind, details).grouped_field_set.items():
        field_name = of_field[0].node.name.value
        if field_name == "__typename":
            names[response_name] = kind.name
            continue
        field = kind.fields[field_name]
        definition = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        reading = _perhaps_null(executor, field.type, of_field) if _is_attribute(definition) else None
        if reading is None:
            return None
        names[response_name] = ""
        members.append((response_name, definition.python_name, reading))
    origin = None
    if kind.is_type_of is not None:
        definition = kind.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
        if definition.is_type_of is not None:
            return None
        origin = definition.origin

    def read(value: Any) -> dict[str, Any]:
        if value is None or (origin is not None and type(value) is not origin):
            raise NotPlain
        completed: dict[str, Any] = names.copy()  # for their order, and for __typename
        for name, attribute, member in members:
            completed[name] = member(getattr(value, attribute))
        return completed

    return read


def _is_attribute(definition: Any) -> bool:
    """Say whether a field is an attribute and nothing else: no resolver computes it, and no guard stands before it.

    A guard is an extension by the time that the schema is built. Each of the three is asked for by itself: what is
    overlooked here is shown to everybody.
    """
    return (
        isinstance(definition, StrawberryField)
        and definition.base_resolver is None
        and not definition.permission_classes
        and not definition.extensions
    )


def _leaf(kind: GraphQLScalarType | GraphQLEnumType) -> Reading:
    if is_specified_scalar_type(kind):
        return _SPECIFIED[kind.name]
    coerce = kind.coerce_output_value

    def read(value: Any) -> Any:
        if value is None or optimized_is_awaitable(value) or isinstance(value, Exception):
            raise NotPlain
        completed = coerce(value)
        if completed is None or completed is Undefined:
            raise NotPlain
        return completed

    return read


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    raise NotPlain


def _int(value: Any) -> int:
    if type(value) is int and -_LARGEST_INT <= value < _LARGEST_INT:
        return value
    raise NotPlain


def _float(value: Any) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    raise NotPlain


def _boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise NotPlain


_SPECIFIED: dict[str, Reading] = {"ID": _text, "String": _text, "Int": _int, "Float": _float, "Boolean": _boolean}
