"""GraphQL over HTTP to the letter: methods, media types and statuses, and what a refusal looks like."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
import strawberry
from strawberry import scalars
from structlog.testing import capture_logs

from schema import Domain, Info, Public
from tests.house import LOG_IN, Answer, Client, House, OpenHouse
from tests.raw import call
from tests.running import Server, serving
from web.routes import STATIC

GRAPHQL_RESPONSE = "application/graphql-response+json"
JSON = "application/json"
GOOD = {"query": "{ __typename }"}
GOOD_ANSWER = {"data": {"__typename": "Query"}}
PREFLIGHTED = {"graphql-require-preflight": "1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a server for what only a connection shows."""
    with serving(tmp_path_factory.mktemp("over_http") / "data") as started:
        yield started


@pytest.fixture
async def by_get(open_house: OpenHouse) -> House:
    """Open a house that takes queries by GET."""
    return await open_house("by_get", get_queries=True)


async def post(client: Client, body: Any, accept: str = GRAPHQL_RESPONSE, **headers: str) -> Answer:
    return Answer(await client.post("/graphql", json=body, headers={"accept": accept, **headers}))


# Media types of answers


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (JSON, JSON),
        (GRAPHQL_RESPONSE, GRAPHQL_RESPONSE),
        ("APPLICATION/GraphQL-Response+JSON", GRAPHQL_RESPONSE),
        (f"{GRAPHQL_RESPONSE}; charset=utf-8", GRAPHQL_RESPONSE),
        ("", JSON),
        (" , ,", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/html, */*;q=0.1", JSON),
        (f"{GRAPHQL_RESPONSE},{JSON};q=0.9", GRAPHQL_RESPONSE),
        (f"{JSON};q=0.9 , {GRAPHQL_RESPONSE}", GRAPHQL_RESPONSE),
        (f"{JSON},{GRAPHQL_RESPONSE}", GRAPHQL_RESPONSE),
        (f"{JSON},{GRAPHQL_RESPONSE};q=0.9", JSON),
        (f"{GRAPHQL_RESPONSE};q=0.2, */*;q=0.8", JSON),
        (f"{GRAPHQL_RESPONSE};q=0, */*", JSON),
        (f"{JSON};q=0, */*;q=0.1", GRAPHQL_RESPONSE),
        (f"{JSON};q=0, application/*", GRAPHQL_RESPONSE),
        (f"{JSON};Q=0.001", JSON),
        (f"{JSON};q=much, {GRAPHQL_RESPONSE};q=0.1", GRAPHQL_RESPONSE),
        (f"{GRAPHQL_RESPONSE}, application/graphql+json, {JSON}, text/event-stream, multipart/mixed", GRAPHQL_RESPONSE),
        (f"text/event-stream, {JSON};q=0.1", JSON),
        (f"multipart/mixed;boundary=graphql;subscriptionSpec=1.0,{GRAPHQL_RESPONSE},{JSON};q=0.9", GRAPHQL_RESPONSE),
    ],
)
async def test_the_answer_has_the_media_type_that_the_client_prefers(
    nobody: Client, accept: str, media_type: str
) -> None:
    answer = await post(nobody, GOOD, accept)
    assert answer.response.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert answer.body == GOOD_ANSWER


async def test_a_client_that_names_no_media_type_gets_json(nobody: Client) -> None:
    del nobody.headers["accept"]
    answer = await nobody.post("/graphql", json=GOOD)
    assert "accept" not in answer.request.headers
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


async def test_two_accept_headers_are_one_list(nobody: Client) -> None:
    answer = await nobody.post("/graphql", json=GOOD, headers=[("accept", "text/html"), ("accept", GRAPHQL_RESPONSE)])
    assert answer.headers["content-type"] == f"{GRAPHQL_RESPONSE}; charset=utf-8"


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "image/*",
        f"{JSON};q=0",
        "*/*;q=0",
        f"{JSON};q=nan",
        f"{JSON};q=-1",
        f"{JSON};q=",
        "application/xml",
    ],
)
async def test_a_client_that_takes_none_of_ours_is_told_so_and_nothing_is_run(house: House, accept: str) -> None:
    ada = await house.person("ada")
    answer = await post(ada.client, {"query": "mutation { logout { sessionEnded } }"}, accept)
    assert answer.response.status_code == 406
    assert answer.code == "BAD_REQUEST"
    assert answer.response.headers["content-type"] == "application/json; charset=utf-8"
    assert (await ada.ask("{ viewer { id } }")).data["viewer"]["id"] == ada.id


async def test_an_accept_header_of_any_length_is_answered(nobody: Client) -> None:
    answer = await post(nobody, GOOD, ",".join(f"x/{number}" for number in range(5_000)))
    assert answer.response.status_code == 406


# Statuses


REFUSED_DOCUMENTS = [
    ("{", "GRAPHQL_PARSE_FAILED"),
    ("{ 8f31403dfe404bccbb0e835f2629c6a7 }", "GRAPHQL_PARSE_FAILED"),
    (" ", "GRAPHQL_PARSE_FAILED"),
    ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
    ("fragment A on Query { viewer { id } }", "GRAPHQL_VALIDATION_FAILED"),
    ("query CoerceFailure($id: ID!) { __typename }", "GRAPHQL_VALIDATION_FAILED"),
    ("query($i: ID!) { node(id: $i) { id } }", "BAD_USER_INPUT"),
    ("{" + "__typename " * 5_000 + "}", "OPERATION_TOO_LARGE"),
    ("query A { __typename } query B { __typename }", "GRAPHQL_VALIDATION_FAILED"),
]


@pytest.mark.parametrize(("query", "code"), REFUSED_DOCUMENTS)
async def test_a_document_that_is_not_run_is_400_to_who_takes_graphqls_own_type(
    nobody: Client, query: str, code: str
) -> None:
    answer = await post(nobody, {"query": query, "variables": {"i": None}})
    assert answer.response.status_code == 400
    assert {error["extensions"]["code"] for error in answer.body["errors"]} == {code}
    assert "data" not in answer.body


@pytest.mark.parametrize("accept", [JSON, "*/*"])
@pytest.mark.parametrize(("query", "code"), REFUSED_DOCUMENTS)
async def test_a_document_that_is_not_run_is_200_to_who_takes_json(
    nobody: Client, query: str, code: str, accept: str
) -> None:
    answer = await post(nobody, {"query": query, "variables": {"i": None}}, accept)
    assert answer.response.status_code == 200
    assert {error["extensions"]["code"] for error in answer.body["errors"]} == {code}
    assert "data" not in answer.body


@pytest.mark.parametrize("accept", [JSON, GRAPHQL_RESPONSE])
async def test_what_was_run_is_200_also_if_a_field_was_refused(nobody: Client, accept: str) -> None:
    answer = await post(nobody, {"query": "{ viewer { id } __typename }"}, accept)
    assert answer.response.status_code == 200
    assert answer.code == "UNAUTHENTICATED"
    assert answer.body["data"] == {"viewer": None, "__typename": "Query"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"qeury": "{ __typename }"},
        {"query": None},
        {"query": ""},
        {"query": "", "extensions": {"some": "value"}},
        *({**GOOD, "query": wrong} for wrong in ({"obj": "ect"}, 0, False, ["array"])),
        *({**GOOD, "operationName": wrong} for wrong in ({"obj": "ect"}, 0, False, ["array"])),
        *({**GOOD, "variables": wrong} for wrong in ("string", 0, False, ["array"])),
        *({**GOOD, "extensions": wrong} for wrong in ("string", 0, False, ["array"])),
        *({**GOOD, "documentId": wrong} for wrong in ({"obj": "ect"}, 0, False, ["array"])),
        [GOOD],
        [],
        "{ __typename }",
        1,
    ],
)
@pytest.mark.parametrize("accept", [JSON, GRAPHQL_RESPONSE])
async def test_a_body_without_a_document_or_with_members_of_other_types_is_400(
    nobody: Client, body: Any, accept: str
) -> None:
    answer = await post(nobody, body, accept)
    assert answer.response.status_code == 400
    assert answer.code == "BAD_REQUEST"
    assert answer.response.headers["content-type"] == f"{accept}; charset=utf-8"
    assert "data" not in answer.body


@pytest.mark.parametrize(
    "more",
    [
        {"variables": None, "operationName": None, "extensions": None},
        {"extensions": {"some": "value"}, "unheardOf": [1]},
        {"variables": {"unused": 1}},
    ],
)
async def test_members_that_are_null_or_unheard_of_do_no_harm(nobody: Client, more: dict[str, Any]) -> None:
    assert (await post(nobody, {**GOOD, **more})).body == GOOD_ANSWER


async def test_the_operation_is_the_one_that_was_named(nobody: Client) -> None:
    query = "query A { a: __typename } query B { b: __typename }"
    assert (await post(nobody, {"query": query, "operationName": "B"})).data == {"b": "Query"}
    for name in ("C", "", "a", "B\0"):
        answer = await post(nobody, {"query": query, "operationName": name})
        assert (answer.response.status_code, answer.code) == (400, "GRAPHQL_VALIDATION_FAILED")


async def test_variables_of_a_wrong_type_are_refused_before_anything_is_run(house: House) -> None:
    ada = await house.person("ada")
    answer = await post(ada.client, {"query": LOG_IN, "variables": {"input": {"email": ada.email, "password": 1}}})
    assert (answer.response.status_code, answer.code) == (400, "BAD_USER_INPUT")
    assert not answer.response.headers.get_list("set-cookie")


async def test_a_subscription_by_post_wants_a_stream(nobody: Client) -> None:
    answer = await post(nobody, {"query": "subscription { viewerEvents { __typename } }"})
    assert (answer.response.status_code, answer.code) == (400, "BAD_REQUEST")


# Media types of bodies


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/jsonp",
        "application/json+x",
        "text/plain; a=application/json",
        'text/plain; a=";application/json"',
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=utf-16",
        "application/json; x=y; charset=latin-1",
        "application/json, text/plain",
    ],
)
async def test_a_body_that_is_not_called_json_in_utf_8_is_415(nobody: Client, content_type: str) -> None:
    headers = {"content-type": content_type, "accept": GRAPHQL_RESPONSE}
    answer = Answer(await nobody.post("/graphql", content=b'{"query":"{ __typename }"}', headers=headers))
    assert answer.response.status_code == 415
    assert answer.code == "BAD_REQUEST"
    assert answer.response.headers["accept-post"] == "application/json"
    assert answer.response.headers["content-type"] == f"{GRAPHQL_RESPONSE}; charset=utf-8"


async def test_two_content_types_are_as_good_as_none(nobody: Client) -> None:
    headers = [("content-type", "application/json"), ("content-type", "text/plain")]
    answer = await nobody.post("/graphql", content=b'{"query":"{ __typename }"}', headers=headers)
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=utf-8",
        'application/json; charset="utf-8"',
        "application/json; charset=utf-8; x=y",
    ],
)
async def test_json_in_utf_8_is_taken_in_any_spelling(nobody: Client, content_type: str) -> None:
    body = '{"query": "{ __typename } # 🏃"}'.encode()
    answer = await nobody.post("/graphql", content=body, headers={"content-type": content_type})
    assert answer.json() == GOOD_ANSWER


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "identity, gzip", "x"])
async def test_a_body_is_sent_as_it_is_for_a_kilobyte_may_unpack_to_a_gigabyte(nobody: Client, encoding: str) -> None:
    answer = await post(nobody, GOOD, **{"content-encoding": encoding})
    assert (answer.response.status_code, answer.code) == (415, "BAD_REQUEST")
    assert answer.response.headers["accept-encoding"] == "identity"


# Methods


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "PROPFIND"])
async def test_other_methods_are_405_and_told_which_are_taken(nobody: Client, method: str) -> None:
    answer = await nobody.request(method, "/graphql?query={__typename}", headers={"accept": "text/html"})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"
    assert method == "HEAD" or Answer(answer).code == "BAD_REQUEST"


@pytest.mark.parametrize("accept", [JSON, GRAPHQL_RESPONSE, "*/*", "text/event-stream"])
async def test_by_get_no_operation_is_run_unless_the_operator_says_so(nobody: Client, accept: str) -> None:
    headers = {"accept": accept, **PREFLIGHTED}
    answer = await nobody.get("/graphql", params={"query": "{ __typename }"}, headers=headers)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize("header", ["apollo-require-preflight", "graphql-require-preflight", "x-apollo-operation-name"])
async def test_a_query_by_get_comes_with_a_header_that_makes_browsers_ask_first(by_get: House, header: str) -> None:
    nobody = by_get.client()
    params = {"query": "query A($a: Boolean!) { a: __typename @include(if: $a) }", "variables": '{"a": true}'}
    without = Answer(await nobody.get("/graphql", params=params))
    assert (without.response.status_code, without.code) == (403, "CSRF_REFUSED")
    answer = Answer(await nobody.get("/graphql", params={**params, "operationName": "A"}, headers={header: "1"}))
    assert answer.data == {"a": "Query"}
    assert answer.response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "accept", [JSON, GRAPHQL_RESPONSE, "*/*", f"text/event-stream, {JSON}", f"{GRAPHQL_RESPONSE}, text/event-stream"]
)
async def test_a_mutation_by_get_is_405_and_changes_nothing(by_get: House, accept: str) -> None:
    ada = await by_get.person("ada")
    headers = {"accept": accept, **PREFLIGHTED}
    answer = Answer(
        await ada.client.get("/graphql", params={"query": "mutation { logout { sessionEnded } }"}, headers=headers)
    )
    assert (answer.response.status_code, answer.code) == (405, "BAD_REQUEST")
    assert answer.response.headers["allow"] == "POST"
    assert not answer.response.headers.get_list("set-cookie")
    assert (await ada.ask("{ viewer { id } }")).data["viewer"]["id"] == ada.id


@pytest.mark.parametrize(
    "query",
    [
        "subscription { viewerEvents { __typename } }",
        "query A { __typename } mutation B { logout { sessionEnded } }",
        "mutation { ...A } fragment A on Mutation { logout { sessionEnded } }",
    ],
)
async def test_what_is_no_query_is_not_run_by_get_whatever_stands_beside_it(by_get: House, query: str) -> None:
    params = {"query": query, **({"operationName": "B"} if "query A" in query else {})}
    answer = await by_get.client().get("/graphql", params=params, headers=PREFLIGHTED)
    assert answer.status_code == 405


async def test_by_get_there_are_no_streams(by_get: House) -> None:
    headers = {"accept": "text/event-stream", **PREFLIGHTED}
    for query in ("{ __typename }", "mutation { logout { sessionEnded } }"):
        assert (await by_get.client().get("/graphql", params={"query": query}, headers=headers)).status_code == 406


@pytest.mark.parametrize(
    "query_string",
    [
        "",
        "query=",
        "variables={}",
        "query",
        "query={__typename}&query={__typename}",
        "query={__typename}&variables=[]",
        "query={__typename}&variables={",
        'query={__typename}&variables={"a":1,"a":2}',
        "query={__typename}&extensions=1",
        "query=%ff",
        "query={__typename}" + "&a=b" * 20,
    ],
)
async def test_a_query_string_that_does_not_do_is_refused(by_get: House, query_string: str) -> None:
    answer = Answer(await by_get.client().get(f"/graphql?{query_string}", headers=PREFLIGHTED))
    assert (answer.response.status_code, answer.code) == (400, "BAD_REQUEST")


async def test_a_query_string_is_no_longer_than_a_body(by_get: House) -> None:
    query_string = b"query={__typename}&x=" + b"y" * 131_072
    headers = [(name.encode(), value.encode()) for name, value in PREFLIGHTED.items()]
    answer = await call(by_get, method="GET", query_string=query_string, headers=headers)
    assert (answer.status, answer.code) == (414, "BAD_REQUEST")


async def test_a_browser_that_follows_a_link_gets_a_page_and_runs_nothing(by_get: House) -> None:
    ada = await by_get.person("ada")
    for query in ("{ viewer { id } }", "mutation { logout { sessionEnded } }"):
        answer = await ada.client.get("/graphql", params={"query": query}, headers={"accept": "text/html,*/*;q=0.8"})
        assert answer.headers["content-type"].startswith("text/html")
    assert (await ada.ask("{ viewer { id } }")).data["viewer"]["id"] == ada.id


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        ("TEXT/HTML", True),
        ("application/xhtml+xml, text/html;q=0.1", True),
        ("text/html;q=0, application/json", False),
        ("text/htmlx", False),
        ("*/*", False),
    ],
)
async def test_who_takes_html_gets_the_page_however_it_is_spelled(
    nobody: Client, accept: str, *, is_page: bool
) -> None:
    answer = await nobody.get("/graphql", headers={"accept": accept})
    assert answer.headers["content-type"].startswith("text/html") == is_page


async def test_where_graphiql_was_not_built_a_browser_is_told_and_the_api_works(
    nobody: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(path: Path) -> bytes:
        assert path == STATIC / "graphiql.html"
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_bytes", missing)
    answer = Answer(await nobody.get("/graphql", headers={"accept": "text/html,*/*;q=0.8"}))
    assert (answer.response.status_code, answer.code) == (404, "NOT_FOUND")
    assert (await post(nobody, GOOD)).body == GOOD_ANSWER


# What every refusal has, and what is logged of it


async def test_every_refusal_has_the_form_of_an_answer_and_is_logged_under_its_id(nobody: Client) -> None:
    with capture_logs() as logged:
        answers = [
            await post(nobody, []),
            await post(nobody, GOOD, origin="https://evil.example"),
            await post(nobody, GOOD, accept="text/html"),
            await post(nobody, {"query": "{" + "__typename " * 5_000 + "}"}),
            await post(nobody, {"query": "{"}, JSON),
            await post(nobody, {"query": "{ viewer { id } }"}),
            Answer(await nobody.get("/nothing")),
            Answer(await nobody.get("/oauth/token")),
        ]
    lines = [line for line in logged if line["event"] == "request"]
    assert [line["status"] for line in lines] == [answer.response.status_code for answer in answers]
    assert [line["code"] for line in lines] == [answer.code for answer in answers]
    for line, answer in zip(lines, answers, strict=True):
        assert line["request_id"] == answer.refusal["requestId"] == answer.response.headers["x-request-id"]
    assert lines[0]["refused"] == "The body is a JSON object; batches are not taken."


async def test_what_went_well_is_logged_without_a_code(nobody: Client) -> None:
    with capture_logs() as logged:
        await post(nobody, GOOD)
        await nobody.post("/oauth/token", data={"grant_type": "password"})
    good, oauth = (line for line in logged if line["event"] == "request")
    assert not {"code", "refused"} & good.keys()
    assert oauth["code"] == "unsupported_grant_type"


async def test_no_refusal_and_no_line_of_the_log_repeats_what_was_sent(nobody: Client) -> None:
    secret = "hunter2hunter2"
    with capture_logs() as logged:
        for body in (
            b'{"query": "' + secret.encode(),
            b'{"' + secret.encode() + b'": 1, "' + secret.encode() + b'": 2}',
            b'["' + secret.encode() + b'"]',
            b'{"query": ["' + secret.encode() + b'"]}',
        ):
            for headers in ({}, {"origin": f"https://{secret}"}, {"accept": secret}, {"content-encoding": secret}):
                sent = {"content-type": "application/json", **headers}
                answer = await nobody.post(f"/graphql?{secret}", content=body, headers=sent)
                assert answer.status_code >= 400
                assert secret not in answer.text + str(answer.headers)
    # But for the origin of a page: its operator has to see which one to allow.
    assert secret not in str([{name: line[name] for name in line if name != "origin"} for line in logged])


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, 10**39])
async def test_a_domains_scalar_gives_back_whatever_number_it_was_given(open_house: OpenHouse, number: int) -> None:
    @strawberry.type
    class Query:
        @strawberry.field(permission_classes=[Public], description="Says the same.")
        def echo(self, info: Info, value: scalars.JSON) -> scalars.JSON | None:
            assert info
            return value

    house = await open_house(domains=[Domain(name="echo", query=Query)])
    query = "query($value: JSON!) { echo(value: $value) }"
    for said in (number, "🏃", float(number)):
        assert (await house.client().ask(query, {"value": said})).data == {"echo": said}
    literal = "1" + "0" * 30
    assert (await house.client().ask(f"{{ echo(value: {literal}) }}")).data == {"echo": int(literal)}


# On the wire


async def test_a_body_that_is_too_large_is_refused_however_it_is_sent_and_the_server_goes_on(server: Server) -> None:
    async def in_chunks() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b" " * 1_000

    async with server.client() as client:
        for content in (b" " * 300_000, in_chunks()):
            answer = await client.post("/graphql", content=content, headers={"content-type": "application/json"})
            assert answer.status_code == 413
            assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
            assert (await client.post("/graphql", json=GOOD)).json() == GOOD_ANSWER


@pytest.mark.parametrize(
    ("declared", "sent"),
    [
        (b"content-length: 5", b'{"query":"{ __typename }"}'),  # the rest is no request
        (b"content-length: -1", b'{"query":"{ __typename }"}'),
        (b"content-length: 1e1", b'{"query":"{ __typename }"}'),
        (b"content-length: 26\r\ncontent-length: 5", b'{"query":"{ __typename }"}'),
        (b"content-length: 26\r\ntransfer-encoding: chunked", b'1a\r\n{"query":"{ __typename }"}\r\n0\r\n\r\n'),
        (b"transfer-encoding: chunked", b'zz\r\n{"query":"{ __typename }"}\r\n0\r\n\r\n'),
        (b"transfer-encoding: gzip, chunked", b"2\r\n{}\r\n0\r\n\r\n"),
    ],
)
def test_smuggling_a_body_whose_length_is_a_lie_is_never_an_operation(
    server: Server, declared: bytes, sent: bytes
) -> None:
    head = b"POST /graphql HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    address = httpx2.URL(server.url)
    with closing(socket.create_connection((address.host, address.port or 80), timeout=30)) as connection:
        connection.sendall(head + declared + b"\r\n\r\n" + sent)
        answered = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answered.split(b" ", 2)[1] in {b"400", b"415", b"501"}, answered
    assert b"Query" not in answered
