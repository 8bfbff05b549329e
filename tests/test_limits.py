"""Limits: what is counted, with fragments put in, and that no document within them takes long to look at."""

import time
from collections.abc import Mapping
from typing import Any

import pytest
import strawberry
from graphql import GraphQLError, GraphQLSyntaxError, get_introspection_query

from schema import Domain, Info, Public, build_schema
from schema.documents import Documents
from schema.limits import Limits
from schema.prepared import Prepared, Preparing
from schema.requests import GraphQLRequest
from tests.house import LOG_IN, House, OpenHouse

EVERY_INTROSPECTION = get_introspection_query(
    descriptions=True,
    specified_by_url=True,
    directive_is_repeatable=True,
    schema_description=True,
    input_value_deprecation=True,
)


@strawberry.type
class Leaf:
    word: str = "a"

    @strawberry.field(description="More of them.")
    def leaves(self, info: Info, first: int = 20) -> list["Leaf"]:
        assert info
        return [Leaf() for _ in range(min(first, 2))]

    @strawberry.field(description="More of them, either way, and how many is not said.")
    def either(self, info: Info, first: int | None = None, last: int | None = None) -> list["Leaf"]:
        assert info
        return [Leaf() for _ in range(min(first or 1, last or 1))]


@strawberry.input(one_of=True, description="One way to name a leaf.")
class LeafBy:
    number: strawberry.Maybe[int] = strawberry.field(description="By its number.")
    word: strawberry.Maybe[str] = strawberry.field(description="By its word.")


@strawberry.type
class Query:
    @strawberry.field(permission_classes=[Public], description="A certain one.")
    def certain_leaf(self, info: Info, by: LeafBy) -> Leaf:
        assert info
        assert by
        return Leaf()

    @strawberry.field(permission_classes=[Public], description="The first one.")
    def leaf(self, info: Info) -> Leaf:
        assert info
        return Leaf()


TREE: Domain[Any] = Domain(name="tree", query=Query)


def documents(**limits: int) -> Documents:
    return Documents(Preparing(build_schema([TREE]).schema._schema, Limits(**limits)))


def take(text: str, **limits: int) -> Prepared:
    return documents(**limits).take(GraphQLRequest(text))


def refused(text: str, **limits: int) -> Mapping[str, Any]:
    with pytest.raises(GraphQLError) as error:
        take(text, **limits)
    assert error.value.extensions is not None
    assert error.value.extensions["code"] == "OPERATION_TOO_LARGE"
    return {"message": error.value.message, **error.value.extensions}


def cost(text: str, variables: Mapping[str, Any] | None = None) -> int:
    prepared = take(text)
    assert prepared.errors == ()
    return prepared.operation(None).cost(variables)


# What is counted


@pytest.mark.parametrize(
    ("name", "limit", "within", "beyond", "figure"),
    [
        ("depth", 2, "{ leaf { word } }", "{ leaf { leaves { word } } }", 3),
        ("depth", 2, "{ ...A } fragment A on Query { leaf { ...B } } fragment B on Leaf { word }", None, 2),
        ("depth", 2, "{ leaf { word } }", "{ leaf { ...A } } fragment A on Leaf { leaves { word } }", 3),
        ("fields", 2, "{ leaf { word } }", "{ leaf { word word } }", 3),
        ("fields", 3, "{ leaf { word word } }", "{ leaf { ...A ...A } } fragment A on Leaf { word __typename }", 5),
        ("fields", 3, "query A { leaf { word } }", "query A { leaf { word } } query B { leaf { word } }", 4),
        ("aliases", 1, "{ a: leaf { word } }", "{ a: leaf { b: word } }", 2),
        ("aliases", 1, "{ leaf { ...A } } fragment A on Leaf { a: word }", None, 1),
        ("aliases", 1, "{ a: leaf { word } }", "{ leaf { ...A ...A } } fragment A on Leaf { a: word }", 2),
        ("root_fields", 1, "{ leaf { word } }", "{ leaf { word } __typename }", 2),
        ("root_fields", 1, "{ leaf { word } }", "{ ...A ... { leaf { word } } } fragment A on Query { __typename }", 2),
        ("directives", 1, "{ leaf @skip(if: true) { word } }", "{ leaf @skip(if: true) @skip(if: true) { word } }", 2),
        (
            "directives",
            1,
            "query { leaf { word } }",
            "query { leaf { ...A @skip(if: false) ...A } } fragment A on Leaf { word @skip(if: false) }",
            3,
        ),
        ("definitions", 1, "{ leaf { word } }", "{ leaf { ...A } } fragment A on Leaf { word }", 2),
    ],
)
def test_what_goes_beyond_a_limit_is_refused_with_the_figures(
    name: str, limit: int, within: str, beyond: str | None, figure: int
) -> None:
    assert take(within, **{name: limit}).errors == ()
    if beyond is not None:
        said = refused(beyond, **{name: limit})
        member = {"root_fields": "rootFields"}.get(name, name)
        assert (said["limit"], said[member]) == (limit, figure)
        assert str(limit) in said["message"]
        assert str(figure) in said["message"]


def test_tokens_are_counted_while_parsing_and_comments_are_too() -> None:
    assert take("{ leaf { word } }", tokens=6).errors == ()
    assert refused("{ leaf { word } }", tokens=5)["limit"] == 5
    assert refused("{ leaf { word } }" + "# one\n" * 7, tokens=6)["limit"] == 6


@pytest.mark.parametrize(
    "value", ["[" * 21 + "]" * 21, "{ a: " * 21 + "1" + " }" * 21, "[{ a: " * 11 + "$word" + " }]" * 11]
)
def test_lists_and_inputs_are_nested_no_deeper_than_fields(value: str) -> None:
    assert "nested" in refused(f"query ($word: Int) {{ leaf {{ leaves(first: {value}) {{ word }} }} }}")["message"]
    assert "nested" in refused(f"query ($x: Int = {value.replace('$word', '1')}) {{ leaf {{ word }} }}")["message"]


def test_selections_are_nested_only_so_deep_whatever_nests_them() -> None:
    # Parsed, each level is one of these; followed, the fragments are one below the other.
    assert "nested" in refused("{" + "... {" * 150 + "__typename" + "}" * 151)["message"]
    chain = " ".join(f"fragment f{n} on Leaf {{ ... {{ ...f{n + 1} }} }}" for n in range(80))
    assert "nested" in refused(f"{{ leaf {{ ...f0 }} }} {chain} fragment f80 on Leaf {{ word }}")["message"]


def test_fragments_that_spread_each_other_twice_are_counted_and_not_followed() -> None:
    doubling = " ".join(f"fragment f{n} on Leaf {{ ...f{n + 1} ...f{n + 1} }}" for n in range(98))
    begun = time.process_time()
    said = refused(f"{{ leaf {{ ...f0 }} }} {doubling} fragment f98 on Leaf {{ word }}")
    assert said["fields"] == 1_000_000_000  # there it stops counting
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "text",
    [
        "{ ...A } fragment A on Query { ...A }",
        "{ leaf { ...A } } fragment A on Leaf { leaves { ...B } } fragment B on Leaf { leaves { ...A } }",
        "{ ...A } fragment A on Query { ...B leaf { word } } fragment B on Query { ...A ...B }",
    ],
)
def test_fragments_that_spread_themselves_are_left_to_validation(text: str) -> None:
    assert take(text).errors


@pytest.mark.parametrize(
    "text",
    [
        "{ nothing { at { all } } }",
        "{ ...A } fragment A on Nothing { word }",
        "{ ...A } fragment A on LoginInput { email }",
        "{ leaf { ... on LoginInput { email(first: 1) } ... on Int { x } ... on Leaf { word { x } } } }",
        "{ leaf { leaves(first: $unknown) { word } either(last: {a: 1}) { word } } }",
        "{ ...Missing }",
        "{ leaf }",
        "mutation { leaf { word } }",
        "subscription { leaf { word } }",
        "fragment A on Query { leaf { word } }",
        "type Query { a: Int }",
    ],
)
def test_counting_takes_whatever_validation_will_refuse(text: str) -> None:
    errors = take(text).errors
    assert errors
    for error in errors:
        assert (error.extensions or {})["code"] == "GRAPHQL_VALIDATION_FAILED"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("fragment A on Query { certainLeaf(by: {word: $w}) { word } } query B($w: String) { ...A }", "BAD_USER_INPUT"),
        ("query B { ...A } fragment A on Query { certainLeaf(by: {word: $w}) { word } }", "GRAPHQL_VALIDATION_FAILED"),
        ("query B($w: String) { certainLeaf(by: {word: $w}) { word } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ certainLeaf(by: {}) { word } }", "GRAPHQL_VALIDATION_FAILED"),
    ],
)
async def test_a_wrong_one_of_several_inputs_is_refused_wherever_its_variable_is_declared(
    open_house: OpenHouse, text: str, code: str
) -> None:
    house = await open_house(domains=[TREE])
    assert (await house.client().ask(text)).code == code


# Cost


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ leaf { word } }", 2),
        ("{ leaf { leaves { word } } }", 2 + 20),
        ("{ leaf { leaves(first: 3) { word __typename } } }", 2 + 3 * 2),
        ("{ leaf { leaves(first: 3) { leaves(first: 5) { word } } } }", 2 + 3 * (1 + 5)),
        ("{ leaf { leaves(first: 0) { word } } }", 2 + 100),
        ("{ leaf { leaves(first: 101) { word } } }", 2 + 100),
        ("{ leaf { leaves(first: 1" + "0" * 900 + ") { word } } }", 2 + 100),
        ("{ leaf { either { word } } }", 2 + 100),
        ("{ leaf { either(last: 7) { word } } }", 2 + 7),
        ("{ leaf { either(first: 7, last: null) { word } } }", 2 + 7),
        ("{ leaf { either(first: 2, last: 7) { word } } }", 2 + 100),
        ("{ leaf { leaves(first: 4) { ...A } } } fragment A on Leaf { word leaves(first: 2) { word } }", 2 + 4 * 4),
        ("{ leaf { leaves(first: 4) { ... on Leaf { word } ... { word } } } }", 2 + 4 * 2),
    ],
)
def test_each_field_costs_one_times_the_pages_that_it_lies_on(text: str, expected: int) -> None:
    prepared = take(text)
    assert prepared.operation(None).cost(None) == expected


@pytest.mark.parametrize(
    ("given", "page"),
    [
        ({"n": 3}, 3),
        ({}, 7),
        (None, 7),
        ({"n": None}, 100),
        ({"n": 101}, 100),
        ({"n": -1}, 100),
        ({"n": "3"}, 100),
        ({"n": True}, 100),
        ({"n": [3]}, 100),
        ({"n": 10**30}, 100),
    ],
)
def test_a_page_whose_size_is_a_variable_costs_what_the_request_gives(
    given: Mapping[str, Any] | None, page: int
) -> None:
    text = (
        "query ($n: Int! = 7) { leaf { leaves(first: 2) { ...A ...A } } } fragment A on Leaf { leaves(first: $n) %s }"
    )
    assert cost(text % "{ word }", given) == 2 + 2 * 2 * (1 + page)
    assert cost(text % "{ leaves(first: $n) { word } }", given) == 2 + 2 * 2 * (1 + page * (1 + page))


def test_a_variable_that_is_left_out_is_the_arguments_default() -> None:
    assert cost("query ($n: Int) { leaf { either(first: $n) { word } } }") == 2 + 100
    prepared = take("query ($n: Int) { leaf { leaves(first: $n) { word } } }")
    assert prepared.operation(None).cost({}) == 2 + 20


async def test_an_operation_that_costs_too_much_is_refused_with_its_cost(open_house: OpenHouse) -> None:
    house = await open_house(domains=[TREE], limit_cost=400)
    text = "query ($n: Int!) { leaf { leaves(first: $n) { leaves(first: $n) { word } } } }"
    assert (await house.client().ask(text, {"n": 19})).data
    answer = await house.client().ask(text, {"n": 20})
    assert (answer.code, answer.refusal["cost"], answer.refusal["limit"]) == ("OPERATION_TOO_LARGE", 422, 400)
    fixed = await house.client().ask(text.replace("$n)", "20)").replace("($n: Int!)", ""))
    assert (fixed.code, fixed.refusal["cost"]) == ("OPERATION_TOO_LARGE", 422)


# Who they are for


async def test_every_limit_is_a_setting(open_house: OpenHouse) -> None:
    house = await open_house(limit_fields=10, limit_depth=2)
    assert (await house.client().ask("{ __typename " + "__typename " * 9 + "}")).data
    assert (await house.client().ask("{ __typename " + "__typename " * 10 + "}")).refusal["fields"] == 11
    assert (await house.client().ask("{ viewer { user { email } } }")).refusal["depth"] == 3


@pytest.mark.parametrize("query", [EVERY_INTROSPECTION, get_introspection_query(), LOG_IN])
def test_what_tools_ask_is_within_the_limits_with_room(query: str) -> None:
    usual = Limits()
    halves = Limits(
        tokens=usual.tokens // 2,
        depth=usual.depth - 4,
        fields=usual.fields // 2,
        aliases=usual.aliases // 2,
        root_fields=usual.root_fields // 2,
        directives=usual.directives // 2,
        definitions=usual.definitions // 2,
        cost=usual.cost // 2,
    )
    built = build_schema([TREE]).schema._schema
    assert Documents(Preparing(built, halves)).take(GraphQLRequest(query)).errors == ()


@pytest.mark.parametrize(
    "query",
    [
        "{ a: __schema { types { name } } b: __schema { types { name } } }",
        "{ __schema { types { a: name b: name } } }",
        "{ __schema { ...A } } fragment A on __Schema { types { ...B } } fragment B on __Type { a: fields { name } }",
        "{ __schema { types { fields { type { fields { name } } } } } }",
        '{ __type(name: "Query") { fields { type { ofType { possibleTypes { fields { name } } } } } } }',
        "{ __schema { types { fields { type { ...A } } } } } fragment A on __Type { interfaces { name } }",
    ],
)
def test_introspection_that_multiplies_the_schema_is_refused(query: str) -> None:
    assert "Introspection" in refused(query)["message"]


def test_several_types_can_be_asked_for_at_once() -> None:
    take('{ a: __type(name: "Query") { name fields { name } } b: __type(name: "Leaf") { name fields { name } } }')


async def test_a_refusal_for_size_runs_nothing_and_costs_no_session(house: House) -> None:
    ada = await house.person("ada")
    answer = await ada.ask("mutation { logout { sessionEnded } " + "__typename " * 20 + "}")
    assert (answer.code, "data" in answer.body) == ("OPERATION_TOO_LARGE", False)
    assert (await ada.ask("{ viewer { id } }")).data["viewer"]


# Time


def _hostile() -> dict[str, str]:
    """Return the worst that was found: each was a second and more, or would have been an hour."""
    flat = "".join(f"fragment f{n} on Leaf {{ word }} " for n in range(98))
    chain = "".join(f"fragment f{n} on Leaf {{ ...f{n + 1} }} " for n in range(97)) + "fragment f97 on Leaf { word }"
    values = "$v " * 60
    return {
        "one field again and again": "{ leaf { " + "word " * 990 + "} }",
        "sets of one name": "{ " + ("leaf { " + "word " * 48 + "} ") * 20 + "}",
        "sets in sets of one name": "{ leaf { " + "leaves { leaves { word } } " * 200 + "} }",
        "arguments of one field": "{ leaf { " + "leaves(first: 1) { word } " * 220 + "} }",
        "empty sets": "{ leaf { " + "leaves { } " * 450 + "} }",
        "fragments side by side": "{ leaf { " + "".join(f"...f{n} " for n in range(98)) + "} } " + flat,
        "fragments in a row": "{ leaf { " + "leaves { word ...f0 } " * 200 + "} } " + chain,
        "operations that spread one fragment": "".join(f"query q{n} {{ ...f }} " for n in range(98))
        + "fragment f on Query { leaf { "
        + "word " * 8
        + "} }",
        "operations that use its variables": "".join(f"query q{n}($v: Int) {{ ...f }} " for n in range(60))
        + "fragment f on Query { leaf { leaves(first: ["
        + values
        + "]) { word } } }",
        "a long list": "{ leaf { leaves(first: [" + "1 " * 1_900 + "]) { word } } }",
        "an input of unknown fields": "mutation { login(input: {"
        + " ".join(f"passwort{n}: 1" for n in range(640))
        + "}) { __typename } }",
        "unknown names": "{ leaf { " + " ".join(f"wordd{'x' * 20}{n}" for n in range(990)) + " } }",
        "unknown types": "query (" + " ".join(f"$v{n}: LoginInputt{n}" for n in range(480)) + ") { leaf { word } }",
        "one argument again and again": "{ leaf { leaves(" + "first: 1 " * 640 + ") { word } } }",
    }


@pytest.mark.parametrize("name", _hostile())
@pytest.mark.parametrize("suggests", [False, True])
def test_no_hostile_document_takes_long(name: str, suggests: bool) -> None:
    taking = Documents(Preparing(build_schema([TREE]).schema._schema, Limits(), suggests=suggests))
    begun = time.process_time()
    try:
        taking.take(GraphQLRequest(_hostile()[name]))
    except GraphQLError as error:
        is_large = (error.extensions or {}).get("code") == "OPERATION_TOO_LARGE"
        assert is_large or isinstance(error, GraphQLSyntaxError)  # noqa: PT017 - either will do
    took = time.process_time() - begun
    print(f"{name}: {took * 1000:.0f} ms")  # noqa: T201
    assert took < 0.5  # a tenth of it, on a machine that has nothing else to do


@pytest.mark.parametrize("text", ["{ }", "{ leaf { } }", "query { leaf { word } } fragment A on Leaf { }"])
def test_a_selection_of_nothing_is_no_document(text: str) -> None:
    with pytest.raises(GraphQLSyntaxError):
        take(text)


def test_fields_of_one_name_that_take_long_to_compare_are_refused() -> None:
    (error,) = take("{ " + ("leaf { " + "word " * 48 + "} ") * 20 + "}").errors
    assert (error.extensions or {})["code"] == "OPERATION_TOO_LARGE"


def test_thirty_components_may_ask_for_the_same_fields() -> None:
    spreads = " ".join(f"...f{n}" for n in range(30))
    fragments = " ".join(f"fragment f{n} on Leaf {{ __typename word leaves {{ word }} }}" for n in range(30))
    assert take(f"{{ leaf {{ {spreads} }} }} {fragments}").errors == ()
