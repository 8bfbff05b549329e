"""Trusted documents: the operator's list is all that runs, and a list with a fault keeps the server from starting."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from installation import assemble
from server import create_app
from settings import WrongSettings, load_settings
from tests.house import LOG_IN, WHO_AM_I, Answer, Client, House, OpenHouse

ME = "query Me { viewer { id } }"
NAME = "query Name { __typename }"


def hash_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def manifest(*operations: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": "apollo-persisted-query-manifest", "version": 1, "operations": list(operations)}


def operation(name: str, body: str, **more: Any) -> dict[str, Any]:
    return {"id": hash_of(body), "name": name, "type": "query", "body": body, **more}


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(manifest(operation("Me", ME), operation("Name", NAME, id="the-name"))))
    return file


@pytest.fixture
async def trusting(open_house: OpenHouse, listed: Path) -> House:
    return await open_house(trusted_documents=listed)


async def post(client: Client, **members: Any) -> Answer:
    return Answer(await client.post("/graphql", json=members))


def apq(digest: str) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": digest}}


@pytest.mark.parametrize(
    "members",
    [
        {"documentId": "the-name"},
        {"documentId": f"sha256:{hash_of(NAME)}"},
        {"documentId": hash_of(NAME)},
        {"extensions": apq(hash_of(NAME))},
        {"extensions": apq("the-name")},
        {"query": NAME},
        {"query": NAME, "extensions": apq(hash_of(NAME))},
        {"query": NAME, "documentId": f"sha256:{hash_of(NAME)}"},
    ],
)
async def test_a_document_of_the_list_runs_whichever_way_it_is_asked_for(
    trusting: House, members: Mapping[str, Any]
) -> None:
    assert (await post(trusting.client(), **members)).data == {"__typename": "Query"}


@pytest.mark.parametrize(
    "members",
    [
        {"query": "{ __typename }"},
        {"query": NAME + " "},
        {"query": LOG_IN},
        {"query": WHO_AM_I, "extensions": apq(hash_of(WHO_AM_I))},
        {"query": "{ __schema { types { name } } }"},
        {"query": "{ this is"},
        {"extensions": apq(hash_of(WHO_AM_I))},
        {"documentId": "another"},
        {"documentId": ""},
        {"documentId": f"sha256:{hash_of('{ __typename }')}"},
        {"documentId": "sha256:the-name"},
    ],
)
async def test_nothing_else_runs(trusting: House, members: Mapping[str, Any]) -> None:
    for _ in range(2):  # what was refused once is not known the next time
        answer = await post(trusting.client(), **members)
        assert answer.code == "DOCUMENT_NOT_TRUSTED"
        assert "data" not in answer.body


async def test_a_listed_id_beside_another_text_is_refused(trusting: House) -> None:
    answer = await post(trusting.client(), query="{ __typename }", documentId="the-name")
    assert answer.code == "BAD_REQUEST"
    answer = await post(trusting.client(), query="{ __typename }", extensions=apq(hash_of(NAME)))
    assert answer.code == "BAD_REQUEST"


async def test_a_trusted_document_gives_nobody_rights(trusting: House) -> None:
    assert (await post(trusting.client(), query=ME)).code == "UNAUTHENTICATED"


async def test_a_plain_object_of_texts_by_ids_is_a_list_too(open_house: OpenHouse, tmp_path: Path) -> None:
    file = tmp_path / "persisted-documents.json"
    file.write_text(json.dumps({"f1d4": NAME, f"sha256:{hash_of(ME)}": ME, "format": "{ viewer { id } }"}))
    house = await open_house(trusted_documents=file)
    for members in ({"documentId": "f1d4"}, {"query": NAME}, {"extensions": apq("f1d4")}):
        assert (await post(house.client(), **members)).data == {"__typename": "Query"}
    assert (await post(house.client(), documentId=f"sha256:{hash_of(ME)}")).code == "UNAUTHENTICATED"
    assert (await post(house.client(), query="{ __typename }")).code == "DOCUMENT_NOT_TRUSTED"


async def test_an_empty_list_trusts_nothing(open_house: OpenHouse, tmp_path: Path) -> None:
    file = tmp_path / "none.json"
    file.write_text("{}")
    house = await open_house(trusted_documents=file)
    assert (await post(house.client(), query="{ __typename }")).code == "DOCUMENT_NOT_TRUSTED"


# Faults


def faults(content: object, tmp_path: Path, **settings: Any) -> list[str]:
    file = tmp_path / "list.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(WrongSettings) as wrong:
        assemble(load_settings(data_dir=tmp_path, trusted_documents=file, **settings))
    assert all(fault.startswith("WATCHWORD_TRUSTED_DOCUMENTS: ") for fault in wrong.value.faults)
    return wrong.value.faults


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"a": "{ __typename }", "a": "{ __typename }"}', "'a' stands twice"),
        ([], "neither"),
        ("null", "neither"),
        ({"a": 1}, "'a' is not the id of a text"),
        ({"": NAME}, "'' is not the id of a text"),
        ({"format": "relay", "operations": []}, "the `format` 'relay' is not known; 'apollo-persisted-query-manifest'"),
        ({"format": 2, "a": NAME}, "the `format` 2 is not known"),
        ({"format": "apollo-persisted-query-manifest", "version": 2, "operations": []}, "version"),
        ({"format": "apollo-persisted-query-manifest", "version": 1}, "operations"),
        (manifest({"id": "a", "name": "A", "type": "query"}), "operation 1"),
        (manifest(operation("Me", ME), operation("", NAME)), "operation 2"),
        (manifest(operation("Me", ME, id=7)), "operation 1"),
        (manifest(operation("Me", ME, id="a"), operation("Name", NAME, id="a")), "Name (a): there are two"),
        (manifest(operation("Other", ME, id="a")), "Other (a): The document has no operation of this name"),
        (manifest(operation("Me", "query Me { nothing }", id="a")), "Me (a): Cannot query field 'nothing'"),
        (manifest(operation("Me", "query Me {", id="a")), "Me (a): Syntax Error"),
        (manifest(operation("Me", "query Me {" + "__typename " * 21 + "}", id="a")), "Me (a): A document has at most"),
        ({"a": "{ nothing }"}, "a: Cannot query field 'nothing'"),
    ],
)
def test_a_list_with_a_fault_is_refused_at_the_start(content: object, says: str, tmp_path: Path) -> None:
    assert any(says in fault for fault in faults(content, tmp_path)), faults(content, tmp_path)


def test_every_fault_of_a_list_is_told_at_once(tmp_path: Path) -> None:
    told = faults({"a": "{ nothing }", "b": NAME, "c": "{", "d": "{ neither }"}, tmp_path)
    assert [fault.split(": ")[1] for fault in told] == ["a", "c", "d"]


def test_a_list_is_held_against_the_limits_that_are_set(tmp_path: Path) -> None:
    deep = {"deep": "{ viewer { user { email } } }"}
    (fault,) = faults(deep, tmp_path, limit_depth=2)
    assert "at most 2 levels" in fault


def test_a_list_that_is_not_there_is_a_fault_and_no_freedom(tmp_path: Path) -> None:
    for missing in (tmp_path / "none.json", tmp_path):
        with pytest.raises(WrongSettings, match="WATCHWORD_TRUSTED_DOCUMENTS"):
            create_app(load_settings(data_dir=tmp_path, trusted_documents=missing))


def test_a_setting_that_is_empty_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHWORD_TRUSTED_DOCUMENTS", "")
    assert load_settings().trusted_documents is None
