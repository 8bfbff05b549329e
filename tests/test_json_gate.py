"""The gate for JSON: what comes through is read by everybody alike; the rest is refused, soon, with a code."""

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from installation import assemble
from schema.errors import Code
from tests.house import ORIGIN, Answer, Client, House
from tests.raw import call
from web.json_gate import DEEPEST, MOST_VALUES, read_graphql_request, read_json
from web.refused import RequestRefused
from web.request_body import LARGEST_BODY
from web.routes import Edge, build_app

GOOD = b'{"query": "{ __typename }"}'
GOOD_ANSWER = {"data": {"__typename": "Query"}}


async def send(client: Client, body: bytes, accept: str = "application/json") -> Answer:
    headers = {"content-type": "application/json", "accept": accept}
    return Answer(await client.post("/graphql", content=body, headers=headers))


def with_variables(text: bytes) -> bytes:
    return b'{"query": "{ __typename }", "variables": {"x": ' + text + b"}}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"query": "{ __typename }"',
        b"{'query': '{ __typename }'}",
        GOOD + b"x",
        GOOD + GOOD,
        b'{"query": "{ __typename }",}',
        b'{"query": "{ __typename }"} // a comment',
        b'{query: "{ __typename }"}',
    ],
)
async def test_what_is_not_json_is_refused(nobody: Client, body: bytes) -> None:
    answer = await send(nobody, body)
    assert (answer.response.status_code, answer.code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "body",
    [
        b'{"query": "\xff"}',
        b'{"query": "\xc0\xae"}',  # an overlong dot
        b'{"query": "\xed\xa0\x80"}',  # half of a surrogate pair, encoded as if it were a character
        b"\xef\xbb\xbf" + GOOD,  # a byte order mark, which RFC 8259 §8.1 forbids to send
        GOOD.decode().encode("utf-16"),
        GOOD.decode().encode("utf-16-le"),
        GOOD.decode().encode("utf-32"),
        b"\x1f\x8b\x08\x00" + GOOD,
    ],
)
async def test_what_is_not_utf_8_is_refused(nobody: Client, body: bytes) -> None:
    answer = await send(nobody, body)
    assert (answer.response.status_code, answer.code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "text",
    [
        rb'"\ud800"',
        rb'"\udc00"',
        rb'"\ud800\ud800"',
        rb'"\udc00\ud800"',
        rb'{"\ud800": 1}',
        b'"\x00"',
        b'"\n"',
        rb'"\x"',
    ],
)
async def test_a_string_that_no_answer_could_repeat_is_refused(nobody: Client, text: bytes) -> None:
    answer = await send(nobody, with_variables(text))
    assert (answer.response.status_code, answer.code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("text", [rb'"\ud83c\udfc3"', rb'"\u0000"', rb'"\\ud800"', '"🏃"'.encode(), rb'"\""'])
async def test_a_string_with_escapes_is_taken(nobody: Client, text: bytes) -> None:
    assert (await send(nobody, with_variables(text))).body == GOOD_ANSWER


async def test_null_characters_reach_neither_a_document_nor_an_account(house: House) -> None:
    nobody = house.client()
    assert (await nobody.ask("{ __typename \0}")).code == "GRAPHQL_PARSE_FAILED"
    ada = await house.person("ada")
    assert (await nobody.log_in(ada.email + "\0")).data["login"]["__typename"] == "LoginFailed"


# Numbers


@pytest.mark.parametrize(
    "text",
    [
        *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1" + b"0" * 40, b"0." + b"1" * 40),
        *(
            b"1" * 5_000,
            b"1." + b"1" * 5_000,
            b"1e" + b"1" * 5_000,
            b"1" * 100_000,
            b"01",
            b"+1",
            b".5",
            b"1.",
            b"0x10",
        ),
    ],
)
async def test_a_number_that_is_none_or_loses_digits_is_refused(nobody: Client, text: bytes) -> None:
    begun = time.process_time()
    answer = await send(nobody, with_variables(text))
    assert (answer.response.status_code, answer.code) == (400, "BAD_REQUEST")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("text", [b"-0", b"0.1", b"1E+2", b"9007199254740993", b"1" * 40, b"-1.5e-300"])
async def test_a_number_of_a_sensible_length_is_taken(nobody: Client, text: bytes) -> None:
    assert (await send(nobody, with_variables(text))).body == GOOD_ANSWER


# Members


@pytest.mark.parametrize(
    "body",
    [
        b'{"query": "{ __typename }", "query": "mutation { logout { sessionEnded } }"}',
        b'{"query": "{ __typename }", "query": "{ __typename }"}',
        rb'{"query": "{ __typename }", "qu\u0065ry": "mutation { logout { sessionEnded } }"}',
        b'{"query": "{ __typename }", "unheardOf": 1, "unheardOf": 1}',
        with_variables(b'{"a": 1, "a": 2}'),
        with_variables(b'[[{"a": {"b": {"c": null, "c": null}}}]]'),
        b'{"query": "{ __typename }", "extensions": {"a": [{"b": 1, "b": 1}]}}',
    ],
)
async def test_two_members_of_one_name_are_refused_at_every_depth_for_a_proxy_may_have_read_the_other(
    nobody: Client, body: bytes
) -> None:
    answer = await send(nobody, body)
    assert (answer.response.status_code, answer.code) == (400, "BAD_REQUEST")


async def test_names_that_differ_in_case_alone_are_two(nobody: Client) -> None:
    answer = await send(nobody, b'{"Query": "{ nothing }", "query": "{ __typename }", "QUERY": 1}')
    assert answer.body == GOOD_ANSWER


async def test_batches_are_refused(nobody: Client) -> None:
    for body in (b"[" + GOOD + b"]", b"[" + GOOD + b"," + GOOD + b"]", b"[]"):
        answer = await send(nobody, body)
        assert (answer.response.status_code, answer.code) == (400, "BAD_REQUEST")


async def test_no_file_comes_in_multipart(nobody: Client) -> None:
    files = {"operations": (None, GOOD), "map": (None, b'{"0": ["variables.x"]}'), "0": ("x", b"y")}
    assert (await nobody.post("/graphql", files=files)).status_code == 415


# Depth


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
async def test_a_body_is_nested_only_so_deep(nobody: Client, opening: bytes, closing: bytes) -> None:
    levels = (DEEPEST - 2) // len(opening.replace(b'"a":', b""))
    taken = with_variables(opening * levels + b"1" + closing * levels)
    assert (await send(nobody, taken)).body == GOOD_ANSWER
    refused = with_variables(opening * (levels + 1) + b"1" + closing * (levels + 1))
    answer = await send(nobody, refused)
    assert (answer.response.status_code, answer.code) == (400, "BAD_REQUEST")
    assert str(DEEPEST) in answer.body["errors"][0]["message"]


async def test_brackets_in_strings_are_no_depth(nobody: Client) -> None:
    for text in (b'"' + b"[{" * 10_000 + b'"', rb'"\"' + b"[" * 1_000 + rb'\\"', b'["' + b"[" * 1_000 + b'", "}"]'):
        assert (await send(nobody, with_variables(text))).body == GOOD_ANSWER


async def test_many_lists_side_by_side_are_no_depth(nobody: Client) -> None:
    assert (await send(nobody, with_variables(b"[" + b"[]," * (MOST_VALUES // 2 - 10) + b"{}]"))).body == GOOD_ANSWER


@pytest.mark.parametrize("value", [b"[]", b"{}", b"1", b'"a"', b"null"])
async def test_a_body_of_too_many_values_is_refused_before_it_is_decoded(nobody: Client, value: bytes) -> None:
    many = with_variables(b"[" + (value + b",") * MOST_VALUES + value + b"]")
    assert (await send(nobody, many)).refusal["code"] == "BAD_REQUEST"


async def test_the_commas_and_brackets_of_a_text_are_no_values(nobody: Client) -> None:
    assert (await send(nobody, with_variables(b'"' + b"[,{" * 30_000 + b'"'))).body == GOOD_ANSWER


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 131_072,
        b'{"a":' * 26_000,
        b"[" * 100 + b'"' + rb"\"" * 65_000,  # each quote could begin a string that never ends
        b"[" * 100 + b'"' + rb"\"" * 65_000 + b"\\",
        b"[" * 100 + b'"' + b"\\" * 130_001,
        b"[" * 100 + b'""' * 65_000,
        b"]" * 65_000 + b"[" * 65_000,
        b"{" + b",".join(b'"%d":[]' % number for number in range(10_000)) + b"}",
        b"{" + b",".join(b'"a":[]' for _ in range(14_000)) + b"}",
        b"[" + b"1," * 65_000 + b"1]",
        b" " * 131_000 + b"1",
        rb'{"query": "' + rb"\u0061" * 21_000 + b'"}',
        b'{"query": "{ __typename ' + rb"\n" * 60_000 + b'"',
    ],
)
async def test_no_body_takes_long_to_read(nobody: Client, body: bytes) -> None:
    assert len(body) <= LARGEST_BODY
    begun = time.process_time()
    answer = await send(nobody, body, "application/graphql-response+json")
    assert time.process_time() - begun < 1
    assert answer.response.status_code == 400
    assert answer.body["errors"][0]["extensions"]["code"] in {"BAD_REQUEST", "GRAPHQL_PARSE_FAILED"}


# Size and time


async def test_a_body_has_at_most_so_many_bytes(nobody: Client, house: House) -> None:
    assert (await send(nobody, GOOD.ljust(LARGEST_BODY))).body == GOOD_ANSWER
    answer = await send(nobody, GOOD.ljust(LARGEST_BODY + 1))
    assert (answer.response.status_code, answer.code) == (413, "BAD_REQUEST")
    halves = GOOD.ljust(LARGEST_BODY // 2), b" " * (LARGEST_BODY // 2)
    assert (await call(house, *halves)).status == 200
    assert (await call(house, *halves, b" ")).status == 413


@pytest.mark.parametrize("declared", [b"131073", b"9" * 30, b"00000000000000131073"])
async def test_a_body_that_says_it_is_too_large_is_not_waited_for(house: House, declared: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", declared)]
    answer = await call(house, headers=headers, then="")
    assert (answer.status, answer.code) == (413, "BAD_REQUEST")


@pytest.mark.parametrize("declared", [b"1", b"-1", b"x", b"\xb2", b""])
async def test_what_a_body_says_of_its_length_is_not_believed(house: House, declared: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", declared)]
    assert (await call(house, GOOD, headers=headers)).status == 200
    assert (await call(house, b" " * LARGEST_BODY, GOOD, headers=headers)).status == 413


async def test_a_body_that_breaks_off_is_not_run(house: House) -> None:
    for chunks in ((), (GOOD[:5],), (GOOD,)):
        answer = await call(house, *chunks, then="http.disconnect")
        assert (answer.status, answer.code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("chunks", [(), (GOOD[:5],), (GOOD,), (b"",) * 100])
async def test_a_body_that_stalls_is_refused_after_its_time_and_the_connection_closed(
    house: House, chunks: tuple[bytes, ...]
) -> None:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        yield {}

    edge = Edge(public_url=ORIGIN, body_timeout=timedelta(milliseconds=20))
    hurried = build_app(assemble(house.settings).built.schema, edge, lifespan=lifespan)
    answer = await call(hurried, *chunks, then="")
    assert (answer.status, answer.code) == (408, "BAD_REQUEST")
    assert answer.headers[b"connection"] == b"close"


# What holds for anything

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=50,
)


def spelled(value: object) -> str:
    """Return a text that tells true from 1, 1 from 1.0, and 0.0 from -0.0."""
    return json.dumps(value)


@given(value=VALUES, escaped=st.booleans(), indent=st.none() | st.integers(0, 2))
def test_what_everybody_reads_alike_comes_through_unchanged(value: Any, escaped: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=escaped, indent=indent).encode()
    assert spelled(read_json(text)) == spelled(value) == spelled(orjson.loads(text))
    assert spelled(read_json(orjson.dumps(value))) == spelled(value)


PIECES = st.sampled_from(
    [
        *'[]{}",:0123456789-+.eE\\/ \t\n',
        "null",
        "true",
        "NaN",
        "Infinity",
        '"a"',
        '"a":',
        "\\u",
        "d800",
        "\ufeff",
        "1e5",
        "ü",
    ]
)


@given(text=st.lists(PIECES, max_size=25).map(lambda pieces: "".join(pieces).encode()) | st.binary(max_size=100))
def test_whatever_comes_through_is_what_everybody_reads(text: bytes) -> None:
    read = or_refusal(read_json, text)
    if isinstance(read, RequestRefused):
        assert (read.status, read.code) == (400, Code.BAD_REQUEST)
        return
    assert spelled(read) == spelled(json.loads(text))
    assert spelled(rounded(read)) == spelled(rounded(orjson.loads(text)))


def or_refusal(reads: Callable[[Any], Any], what: object) -> Any:
    try:
        return reads(what)
    except RequestRefused as refused:
        return refused


def rounded(value: Any) -> Any:
    """Return a value as orjson reads it, to which an integer of more than 64 bits is a float."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    is_long = isinstance(value, int) and not -(2**63) <= value < 2**64
    return float(value) if is_long else value


@given(
    members=st.dictionaries(
        st.sampled_from(["query", "variables", "operationName", "extensions", "documentId"]), VALUES
    )
)
def test_members_have_their_types_or_are_refused(members: dict[str, Any]) -> None:
    kinds = {"query": str, "variables": dict, "operationName": str, "extensions": dict, "documentId": str}
    fit = all(value is None or isinstance(value, kinds[name]) for name, value in members.items())
    request = or_refusal(read_graphql_request, members)
    if isinstance(request, RequestRefused):
        assert not fit
        assert (request.status, request.code) == (400, Code.BAD_REQUEST)
    else:
        assert fit
        assert (request.query, request.variables) == (members.get("query"), members.get("variables"))


@given(
    body=st.binary(max_size=200) | VALUES.map(orjson.dumps),
    accept=st.sampled_from(["*/*", "application/graphql-response+json"]),
)
async def test_every_body_has_an_answer_and_every_refusal_a_code(house: House, body: bytes, accept: str) -> None:
    answer = await send(house.client(), body, accept)
    assert answer.response.status_code in {200, 400}
    assert answer.response.headers["content-type"].startswith(("application/json", "application/graphql-response+json"))
    assert answer.code in {"BAD_REQUEST", "GRAPHQL_PARSE_FAILED"}
