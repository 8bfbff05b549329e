"""Text that PostgreSQL cannot store, for it has a NUL in it, is text like any other: refused, or found nowhere."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    build_schema,
    get_named_type,
    is_composite_type,
)

from tests.house import House, Person
from tests.running import ROOT

ON_BOTH_ENGINES = True

NUL = "ada\0@example.org"
SCHEMA = build_schema((ROOT / "schema/schema.graphql").read_text())
TEXTS = [NUL, base64.b64encode(b"User:\0").decode(), base64.b64encode(NUL.encode()).decode()]


def value_of(kind: GraphQLInputType, text: str) -> Any:
    """Return a value of this type with this text wherever there is one."""
    match kind:
        case GraphQLNonNull():
            return value_of(kind.of_type, text)
        case GraphQLList():
            return [value_of(kind.of_type, text)]
        case GraphQLInputObjectType():
            return {name: value_of(member.type, text) for name, member in kind.fields.items()}
        case GraphQLEnumType():
            return next(iter(kind.values))
    return {"Int": 3, "Boolean": True, "DateTime": "2040-01-01T00:00:00Z"}.get(str(kind), text)


def takes_text(kind: GraphQLInputType) -> bool:
    named = get_named_type(kind)
    if isinstance(named, GraphQLInputObjectType):
        return any(takes_text(member.type) for member in named.fields.values())
    return str(named) in {"String", "ID"}


def documents() -> Iterator[tuple[str, dict[str, GraphQLInputType]]]:
    """Give a document for every field of the roots, and of the viewer, that takes text."""
    assert SCHEMA.query_type is not None
    assert SCHEMA.mutation_type is not None
    viewer = get_named_type(SCHEMA.query_type.fields["viewer"].type)
    for keyword, path, fields in (
        ("query", "{}", SCHEMA.query_type.fields),
        ("query", "viewer {{ {} }}", viewer.fields),
        ("mutation", "{}", SCHEMA.mutation_type.fields),
    ):
        for name, found in fields.items():
            if any(takes_text(argument.type) for argument in found.args.values()):
                yield _document(keyword, path, name, found)


def _document(keyword: str, path: str, name: str, found: GraphQLField) -> tuple[str, dict[str, GraphQLInputType]]:
    kinds = {argument: given.type for argument, given in found.args.items() if argument not in {"last", "before"}}
    declared = ", ".join(f"${argument}: {kind}" for argument, kind in kinds.items())
    passed = ", ".join(f"{argument}: ${argument}" for argument in kinds)
    selected = "{ __typename }" if is_composite_type(get_named_type(found.type)) else ""
    return f"{keyword}({declared}) {{ {path.format(f'{name}({passed}) {selected}')} }}", kinds


DOCUMENTS = dict(documents())


def test_the_documents_reach_what_takes_text() -> None:
    text = "\n".join(DOCUMENTS)
    for name in ("login", "signUp", "users", "node", "createApiToken", "auditEvents", "refresh"):
        assert f"{name}(" in text


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("document", DOCUMENTS)
async def test_text_with_a_nul_in_it_breaks_nothing(house: House, grace: Person, document: str, text: str) -> None:
    kinds = DOCUMENTS[document]
    everything = {name: value_of(kind, text) for name, kind in kinds.items()}
    needed = {name: value for name, value in everything.items() if isinstance(kinds[name], GraphQLNonNull)}
    # Each alone besides what is needed, for one that is refused hides the others.
    for variables in (everything, *({**needed, name: everything[name]} for name in everything)):
        for client in (grace.client, house.client()):
            answer = await client.ask(document, variables)
            codes = {error["extensions"]["code"] for error in answer.body.get("errors", [])}
            assert not {"INTERNAL", "UNAVAILABLE"} & codes, answer.body
