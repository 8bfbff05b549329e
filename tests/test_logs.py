"""The log: which operation a line is about, and the acts that were done, each once it is certain."""

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from auth.audit import Act
from auth.origin import NOWHERE
from store.audit_events import page
from tests.faults import full
from tests.house import LOG_OUT, PASSWORD, House, OpenHouse
from tests.running import serving, wait_until
from tests.sockets import conversing

Lines = list[MutableMapping[str, Any]]


def lines(logged: Lines, event: str) -> Lines:
    return [line for line in logged if line["event"] == event]


# Operations


async def test_a_line_has_the_name_and_the_type_of_the_operation_and_the_code_of_what_was_refused(house: House) -> None:
    nobody, ada = house.client(), await house.person("ada")
    with capture_logs() as logged:
        await ada.ask("query Mine { viewer { id } }")
        await nobody.ask("query Mine { viewer { id } }")
        await nobody.ask("{ __typename }")
        await nobody.ask("query " + "x" * 5_000 + " { __typename }")
        await nobody.ask("query NotThere { nowhere }")
    told = [(line.get("operation"), line.get("type"), line.get("code")) for line in lines(logged, "request")]
    assert told == [
        ("Mine", "query", None),
        ("Mine", "query", "UNAUTHENTICATED"),
        (None, "query", None),
        ("x" * 100 + "…", "query", None),
        (None, None, "GRAPHQL_VALIDATION_FAILED"),
    ]


async def test_so_has_the_line_of_an_operation_on_a_socket(house: House) -> None:
    with capture_logs() as logged:
        async with conversing(house) as socket:
            await socket.ask("query Asked { __typename }")
            socket.subscribe("query Refused { nowhere }", "2")
            await socket.refusal("2")
    told = [(line.get("operation"), line.get("type"), line.get("code")) for line in lines(logged, "operation")]
    assert told == [("Asked", "query", None), (None, None, "GRAPHQL_VALIDATION_FAILED")]


# Acts


async def test_an_act_is_a_line_with_the_ids_of_its_row_and_nothing_that_somebody_wrote(house: House) -> None:
    with capture_logs() as logged:
        ada = await house.person("ada")
        await ada.client.log_in("nobody.knows.her@example.org")
        await ada.client.log_in(ada.email, "not her password")
        ada.client.headers["user-agent"] = "hunter2"
        await ada.ask(LOG_OUT)
    found = lines(logged, "audit")
    assert [line["act"] for line in found] == [
        "user:create",
        "session:start",
        "login:fail",
        "login:fail",
        "session:end",
    ]
    rows = {row.id: row for row in await page(house.auth.database, subject_id=None, limit=50, after=None)}
    for line in found:
        row = rows[line["id"]]
        assert (line["act"], line["request_id"]) == (row.action, row.request_id)
        assert (line["actor"], line["subject"], line["object"]) == (row.actor_id, row.subject_id, row.object_id)
        assert (line["via"], line["detail"], line["address"]) == (row.via_id, row.detail, row.address)
    requests = {line["request_id"] for line in lines(logged, "request")}
    assert {line["request_id"] for line in found} <= requests
    for written in (ada.email, "nobody.knows.her", PASSWORD, "not her password", "hunter2", "@"):
        assert written not in repr(found)


async def test_an_act_that_was_rolled_back_is_no_line(house: House) -> None:
    async def recorded_and_undone() -> None:
        async with house.auth.database.transaction() as tx:
            await house.auth.audit.record(tx, Act.USER_CREATE, NOWHERE)
            raise ZeroDivisionError

    with capture_logs() as logged:
        with pytest.raises(ZeroDivisionError):
            await recorded_and_undone()
        async with house.auth.database.transaction() as tx:
            await house.auth.audit.record(tx, Act.USER_ENABLE, NOWHERE)
            assert lines(logged, "audit") == []  # it is not certain yet
    assert [line["act"] for line in lines(logged, "audit")] == ["user:enable"]


async def test_an_act_whose_commit_the_disk_did_not_take_is_no_line(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    with capture_logs() as logged, full(house):
        assert (await house.client().log_in(ada.email)).code == "UNAVAILABLE"
    assert lines(logged, "audit") == []


async def test_acts_are_not_logged_where_that_is_not_wanted(open_house: OpenHouse) -> None:
    house = await open_house(log_audit=False)
    with capture_logs() as logged:
        await house.person("ada")
    assert lines(logged, "audit") == []
    assert len(lines(logged, "request")) == 2


async def test_a_server_writes_acts_as_json_lines_of_a_logger_of_their_own(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        async with server.client() as client:
            answer = await client.log_in("nobody@example.org")
        request_id = answer.response.headers["x-request-id"]

        def told() -> list[dict[str, Any]]:
            return [line for line in server.log_lines() if line["logger"] == "watchword.audit"]

        wait_until(lambda: bool(told()), server.everything)
        (line,) = told()
    assert (line["event"], line["act"], line["request_id"]) == ("audit", "login:fail", request_id)
    assert line["level"] == "info"
    assert line["subject"] is None
