"""The one door for JSON, whichever transport brought it: what comes through is a GraphQL request, or is refused.

Parsers disagree about what is not quite JSON, and a proxy in front may have read it otherwise: so of two members of one
name neither counts, and a number that loses digits is no number (RFC 8259 §4, §6; ASVS 4.2.1).
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from auth.refusals import RateLimited
from schema.errors import Code
from schema.requests import GraphQLRequest
from schema.turns import Turns
from web.refused import RequestRefused

DEEPEST = 64
_MOST_DIGITS = 40

# One that is not closed ends with the body: were it no match, each of its 60,000 escaped quotes would be tried as the
# beginning of another, for minutes.
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")

# Where there are no more brackets than this, nothing is nested deeper than it: most bodies are not measured at all.
_FEW_BRACKETS = DEEPEST

# What is longer is read in turn with others of its size.
LARGE = 16_384
_BYTES_A_MILLISECOND = 4_096

# Each costs the reader what a hundred letters do.
MOST_VALUES = 10_000


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise RequestRefused(400, "A member stands twice in one object of the body.")
    return members


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise RequestRefused(400, f"A number has at most {_MOST_DIGITS} digits.")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits) if len(digits) <= _MOST_DIGITS else math.inf
    if math.isinf(number):
        raise RequestRefused(400, "A number is too long, or too large.")
    return number


def _constant(_name: str) -> None:
    raise RequestRefused(400, "The body is not JSON in UTF-8.")


_decoder = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_number, parse_constant=_constant
)


def read_json(text: bytes | str) -> Any:
    """Decode JSON in UTF-8. Raises `RequestRefused`."""
    raw = text.encode() if isinstance(text, str) else text
    try:
        brackets = raw.count(b"[") + raw.count(b"{")
        if brackets > _FEW_BRACKETS or len(raw) > MOST_VALUES:
            _require_modest(raw, brackets)
        if b"\\u" in raw:
            orjson.loads(raw)  # it alone refuses half of a surrogate pair, which no answer could repeat
        return _decoder.decode(raw.decode())
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise RequestRefused(400, "The body is not JSON in UTF-8.") from error


def milliseconds_of(raw: bytes | str) -> int:
    """Return how long it takes to read the worst text of this length, more or less."""
    return 1 + len(raw) // _BYTES_A_MILLISECOND


async def read_in_turn(raw: bytes, turns: Turns, whose: str) -> Any:
    """Decode JSON, large texts one at a time. Raises `RequestRefused`, also when too many wait already."""
    if len(raw) <= LARGE:
        return read_json(raw)
    try:
        async with turns.turn(whose, milliseconds_of(raw)):
            return read_json(raw)
    except RateLimited as refused:
        raise RequestRefused(429, str(refused), Code.RATE_LIMITED, retry_after=str(refused.seconds)) from refused


def read_graphql_request(members: Any) -> GraphQLRequest:
    """Read the members of a decoded body. Raises `RequestRefused`."""
    if not isinstance(members, dict):
        raise RequestRefused(400, "The body is a JSON object; batches are not taken.")
    return GraphQLRequest(
        query=_member(members, "query", str, "a string"),
        variables=_member(members, "variables", dict, "an object"),
        operation_name=_member(members, "operationName", str, "a string"),
        extensions=_member(members, "extensions", dict, "an object"),
        document_id=_member(members, "documentId", str, "a string"),
    )


def _member(members: Mapping[str, Any], name: str, kind: type, words: str) -> Any:
    value = members.get(name)
    if value is not None and not isinstance(value, kind):
        raise RequestRefused(400, f"`{name}` is {words}, or left out.")
    return value


def _require_modest(raw: bytes, brackets: int) -> None:
    """Require of a large text, before it is decoded, that it is nested no deeper and has no more values than may be."""
    if raw.count(b",") + brackets <= MOST_VALUES and brackets <= DEEPEST:
        return
    bare = _STRINGS.sub(b"", raw)  # the commas and brackets within strings are text
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > MOST_VALUES:
        raise RequestRefused(400, f"The body has at most {MOST_VALUES} values.")
    depth = 0
    for bracket in _BRACKETS.findall(bare):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEEPEST:
            raise RequestRefused(400, f"The body is nested at most {DEEPEST} deep.")
