"""Persisted queries: a hash in place of a text, as Apollo's clients speak it, and the memory behind it."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pytest
from graphql import GraphQLError

from schema import build_schema
from schema.documents import Documents
from schema.limits import Limits
from schema.prepared import Prepared, Preparing
from schema.requests import GraphQLRequest
from tests.house import Answer, Client, House, Person

QUERY = "{ viewer { id } }"


def hash_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def persisted(text: str, **more: Any) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": hash_of(text), **more}}


async def post(client: Client, **members: Any) -> Answer:
    return Answer(await client.post("/graphql", json=members))


# Apollo's protocol


async def test_an_unknown_hash_is_answered_as_apollos_clients_want_and_known_once_its_text_came(ada: Person) -> None:
    text = "{ viewer { id kind } } # for this test alone"
    asked = await post(ada.client, extensions=persisted(text))
    assert asked.response.status_code == 200
    (error,) = asked.body["errors"]
    assert (error["message"], asked.code) == ("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND")
    assert "data" not in asked.body
    registered = await post(ada.client, query=text, extensions=persisted(text))
    again = await post(ada.client, extensions=persisted(text))
    assert registered.data == again.data
    assert again.data["viewer"]["id"] == ada.id


async def test_a_hash_runs_with_the_variables_the_operation_and_the_rights_of_whoever_asks(
    ada: Person, nobody: Client
) -> None:
    text = "query A($n: ID!) { node(id: $n) { id } } query B { viewer { id } }"
    await post(nobody, query=text, operationName="B", extensions=persisted(text))
    assert (await post(ada.client, operationName="B", extensions=persisted(text))).data["viewer"]["id"] == ada.id
    found = await post(ada.client, operationName="A", variables={"n": ada.user_id}, extensions=persisted(text))
    assert found.data["node"]["id"] == ada.user_id
    assert (await post(nobody, operationName="B", extensions=persisted(text))).code == "UNAUTHENTICATED"


async def test_a_text_that_came_without_its_hash_is_found_by_it_too(nobody: Client) -> None:
    text = "{ __typename } # asked for plainly"
    await post(nobody, query=text)
    assert (await post(nobody, extensions=persisted(text))).data == {"__typename": "Query"}


async def test_the_id_of_a_persisted_document_is_its_hash_with_a_prefix(nobody: Client) -> None:
    text = "{ __typename } # by documentId"
    unknown = await post(nobody, documentId=f"sha256:{hash_of(text)}")
    assert unknown.code == "PERSISTED_QUERY_NOT_FOUND"
    await post(nobody, query=text)
    assert (await post(nobody, documentId=f"sha256:{hash_of(text)}")).data == {"__typename": "Query"}


async def test_poisoning_a_text_under_the_hash_of_another_is_refused(nobody: Client) -> None:
    honest, hostile = "{ __typename } # honest", "{ __typename } # hostile"
    answer = await post(nobody, query=hostile, extensions=persisted(honest))
    assert (answer.code, answer.body["errors"][0]["message"]) == ("BAD_REQUEST", "provided sha does not match query")
    for text in (honest, hostile):
        assert (await post(nobody, extensions=persisted(text))).code == "PERSISTED_QUERY_NOT_FOUND"


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"extensions": persisted(QUERY, version=2)}, "Unsupported persisted query version"),
        ({"extensions": persisted(QUERY, version="1")}, "Unsupported persisted query version"),
        ({"extensions": persisted(QUERY, version=True)}, "Unsupported persisted query version"),
        ({"extensions": {"persistedQuery": {"sha256Hash": hash_of(QUERY)}}}, "Unsupported persisted query version"),
        ({"extensions": persisted(QUERY, version=2), "query": QUERY}, "Unsupported persisted query version"),
        ({"extensions": {"persistedQuery": {"version": 1}}}, "sha256Hash"),
        ({"extensions": persisted(QUERY, sha256Hash=1)}, "sha256Hash"),
        ({"extensions": persisted(QUERY, sha256Hash="")}, "SHA-256"),
        ({"extensions": persisted(QUERY, sha256Hash=hash_of(QUERY).upper())}, "SHA-256"),
        ({"extensions": persisted(QUERY, sha256Hash=hash_of(QUERY)[1:])}, "SHA-256"),
        ({"extensions": persisted(QUERY, sha256Hash=f"{hash_of(QUERY)}\n")}, "SHA-256"),
        ({"extensions": {"persistedQuery": [1]}}, "object"),
        ({"extensions": {"persistedQuery": "1"}}, "object"),
        ({"documentId": "md5:900150983cd24fb0d6963f7d28e17f72"}, "SHA-256"),
        ({"documentId": "viewer"}, "SHA-256"),
        ({"documentId": f"sha256:{hash_of(QUERY)}", "query": "{ __typename }"}, "send one of them"),
        ({"documentId": "", "query": QUERY}, "send one of them"),
    ],
)
async def test_what_is_not_of_the_protocol_is_a_bad_request(
    nobody: Client, members: Mapping[str, Any], says: str
) -> None:
    answer = await post(nobody, **members)
    assert answer.code == "BAD_REQUEST"
    assert says in answer.body["errors"][0]["message"]


async def test_other_extensions_and_an_empty_one_are_left_alone(nobody: Client) -> None:
    for extensions in ({}, {"clientLibrary": {"name": "@apollo/client"}}, {"persistedQuery": None}):
        assert (await post(nobody, query="{ __typename }", extensions=extensions)).data


async def test_what_is_refused_is_not_remembered(house: House, nobody: Client) -> None:
    for text in ("{ nothing }", "{ viewer { id }", "{" + "__typename " * 30 + "}"):
        assert (await post(nobody, query=text, extensions=persisted(text))).code in {
            "GRAPHQL_VALIDATION_FAILED",
            "GRAPHQL_PARSE_FAILED",
            "OPERATION_TOO_LARGE",
        }
        assert (await post(house.client(), extensions=persisted(text))).code == "PERSISTED_QUERY_NOT_FOUND"


# The memory


def opened() -> Documents:
    return Documents(Preparing(build_schema().schema._schema, Limits()))


def text_of(number: int, length: int = 0) -> str:
    return f"{{ __typename }} # {number} ".ljust(length, "x")


def ask(documents: Documents, text: str) -> Prepared:
    return documents.take(GraphQLRequest(text))


def is_known(documents: Documents, text: str) -> bool:
    try:
        documents.take(GraphQLRequest(extensions=persisted(text)))
    except GraphQLError:
        return False
    return True


def test_nothing_is_prepared_twice() -> None:
    documents = opened()
    first = ask(documents, QUERY)
    assert ask(documents, QUERY) is first
    assert documents.take(GraphQLRequest(document_id=f"sha256:{hash_of(QUERY)}")) is first
    assert ask(documents, QUERY + " ") is not first


def test_a_flood_of_texts_that_are_seen_once_washes_out_none_that_was_asked_for_again() -> None:
    documents = opened()
    used = [text_of(number) for number in range(200)]
    for text in used * 2:
        ask(documents, text)
    for number in range(1_000, 3_000):
        ask(documents, text_of(number))
    assert all(is_known(documents, text) for text in used)


def test_a_flood_of_long_texts_does_not_either() -> None:
    documents = opened()
    used = [text_of(number) for number in range(200)]
    for text in used * 2:
        ask(documents, text)
    for number in range(1_000, 1_100):
        ask(documents, text_of(number, length=24_000))
    assert all(is_known(documents, text) for text in used)


def test_the_memory_is_bounded_by_number_and_what_was_asked_for_least_recently_goes_first() -> None:
    documents = opened()
    texts = [text_of(number) for number in range(600)]
    for text in texts:
        ask(documents, text)
    assert [is_known(documents, text) for text in texts] == [False] * 88 + [True] * 512


def test_the_memory_is_bounded_by_the_length_of_what_is_in_it() -> None:
    documents = opened()
    texts = [text_of(number, length=20_000) for number in range(30)]
    for text in texts:
        ask(documents, text)
    assert [is_known(documents, text) for text in texts] == [False] * 5 + [True] * 25


def test_even_what_was_asked_for_again_is_forgotten_some_day() -> None:
    documents = opened()
    texts = [text_of(number) for number in range(1_000)]
    for text in texts:
        ask(documents, text)
        ask(documents, text)
    known = [is_known(documents, text) for text in texts]
    assert known.count(True) <= 512
    assert known[-400:] == [True] * 400
    assert not any(known[:400])


def test_a_document_that_is_too_long_to_keep_runs_all_the_same() -> None:
    documents = opened()
    text = text_of(1, length=60_000)
    assert ask(documents, text).errors == ()
    assert not is_known(documents, text)
