"""Whatever is sent is answered, in the one shape, without a word of what is inside; and the server is well afterwards.

Two thousand inputs each run, the same ones each time. `WATCHWORD_TEST_FUZZ=1000000` tries a million, other ones.
"""

import os
import re
import socket
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson
import pytest
from graphql import FloatValueNode, StringValueNode, build_schema, print_ast
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import mutations, queries

from schema.errors import Code
from tests.house import LOG_IN, PASSWORD, SIGN_UP, WHO_AM_I
from tests.running import ROOT, Server, serving

_ASKED = os.environ.get("WATCHWORD_TEST_FUZZ")
INPUTS = int(_ASKED or 2_000)
PATIENCE = 2  # seconds, within which each has to be answered

# What would tell a stranger how the server is made, or on what it stumbled.
INSIDE = re.compile(
    r"Traceback|File \"|sqlite|strawberry|graphql-core|site-packages|0x[0-9a-f]{8}|orjson|\.py\b", re.IGNORECASE
)
CODES = frozenset(Code.__members__)

SCHEMA = build_schema((ROOT / "schema/schema.graphql").read_text())

# As much as can be set, and no budgets: what is refused for its size tries no resolver.
GENEROUS = {
    "budget": "0",
    "anonymous_budget": "0",
    "limit_tokens": "20000",
    "limit_depth": "100",
    "limit_fields": "100000",
    "limit_aliases": "10000",
    "limit_root_fields": "1000",
    "limit_directives": "10000",
    "limit_definitions": "1000",
    "limit_cost": "10000000",
}


def share(part: float) -> Any:
    """Return the settings of a test that takes this part of all inputs."""
    return settings(
        max_examples=int(INPUTS * part),
        derandomize=_ASKED is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@dataclass
class Fuzzed:
    """The server, what somebody presents who is logged in, and what became of the documents that fit the schema."""

    server: Server
    client: httpx2.Client
    cookie: str = ""
    bearer: str = ""
    people: int = 0
    became: Counter[str] = field(default_factory=Counter)

    def log_in(self) -> None:
        """Log in as somebody new: wrong passwords that were tried in one's name make the next login wait."""
        self.people += 1
        account = {"email": f"ada{self.people}@example.org", "password": PASSWORD}
        with httpx2.Client(base_url=self.server.url, timeout=30) as ada:
            post(ada, SIGN_UP, {"input": {**account, "displayName": "Ada"}})
            bearer = post(ada, LOG_IN, {"input": {**account, "delivery": "BODY"}})["login"]["accessToken"]
            post(ada, LOG_IN, {"input": account})
            assert post(ada, WHO_AM_I)["viewer"]["user"]["email"] == account["email"]
            self.cookie = "; ".join(f"{name}={value}" for name, value in ada.cookies.items())
            self.bearer = f"Bearer {bearer}"

    def ask(self, body: bytes, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        self.client.cookies.clear()  # each presents what it says, and nothing that an earlier one was given
        return self.client.post(
            "/graphql", content=body, headers={"content-type": "application/json", **(headers or {})}
        )

    def try_document(self, document: str, credential: str) -> None:
        headers = presented(self, credential) | {"accept": "application/graphql-response+json"}
        answer = self.ask(orjson.dumps({"query": document}), headers)
        require_answer(answer)
        data = answer.json().get("data") or {}
        self.became["tried"] += 1
        self.became["executed"] += "data" in answer.json()
        self.became["answered"] += any(value is not None for value in data.values())
        if credential != "nobody" and '"UNAUTHENTICATED"' in answer.text:
            self.log_in()  # an earlier one was a logout


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    """Run a server for these tests; when they have ended it must be well, and have nothing to report."""
    with serving(tmp_path_factory.mktemp("fuzzed") / "data", log_format="json", **GENEROUS) as server:
        with httpx2.Client(base_url=server.url, timeout=PATIENCE) as client:
            fuzzed = Fuzzed(server, client)
            fuzzed.log_in()
            yield fuzzed
            assert client.get("/readyz").json()["status"] == "ok"
            fuzzed.log_in()
        events = [line for line in server.log_lines() if line.get("level") in {"error", "critical"}]
        assert events == []
        assert "Traceback" not in server.logged()
        # What fits the schema is worth its time only if it reaches the resolvers, and some of them answer.
        assert fuzzed.became["executed"] >= 0.8 * fuzzed.became["tried"], fuzzed.became
        assert fuzzed.became["answered"] >= 0.2 * fuzzed.became["tried"], fuzzed.became


def post(client: httpx2.Client, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = client.post("/graphql", json={"query": query, "variables": variables})
    data: dict[str, Any] = answer.json()["data"]
    return data


def require_answer(answer: httpx2.Response) -> None:
    """Require what every answer keeps, good or bad."""
    text = answer.text
    assert answer.status_code < 500, text
    assert answer.headers["x-request-id"]
    assert answer.headers["content-type"].startswith(("application/json", "application/graphql-response+json"))
    assert not INSIDE.search(text), text
    body = answer.json()
    assert isinstance(body, dict)
    assert body.keys() <= {"data", "errors"}
    for error in body.get("errors", []):
        assert error["extensions"]["code"] in CODES
        assert error["extensions"]["code"] != "INTERNAL", text
        assert error["extensions"]["requestId"]


def global_id(type_name: str, node_id: str) -> str:
    return b64encode(f"{type_name}:{node_id}".encode()).decode()


DATES = st.sampled_from(["2026-11-23T00:00:00Z", "", "yesterday", "9999-99-99T99:99:99Z"]).map(
    lambda text: StringValueNode(value=text)
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: FloatValueNode(value=str(number)))
# Of what is, of what is not, and of nothing that has an ID: the first get past the reading of it.
IDS = (
    st.builds(
        global_id,
        st.sampled_from(["User", "Session", "ApiToken", "ServiceAccount", "AuditEvent", "Viewer", "Query", ""]),
        st.sampled_from(["01a20af3-e26b-7160-8000-000000000000", "1", ""]),
    )
    | st.text(max_size=10)
).map(lambda text: StringValueNode(value=text))
assert SCHEMA.mutation_type
DRAWN: dict[str, Any] = {"custom_scalars": {"DateTime": DATES, "ID": IDS}, "print_ast": print_ast}
QUERIES: st.SearchStrategy[str] = queries(SCHEMA, **DRAWN)
# One act each: a document with more than one that takes a credential is refused whole.
MUTATIONS: st.SearchStrategy[str] = st.one_of(
    [mutations(SCHEMA, fields=[name], **DRAWN) for name in SCHEMA.mutation_type.fields]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
CREDENTIALS = st.sampled_from(["nobody", "cookie", "bearer"])


def presented(fuzzed: Fuzzed, credential: str) -> dict[str, str]:
    return {"cookie": {"cookie": fuzzed.cookie}, "bearer": {"authorization": fuzzed.bearer}}.get(credential, {})


@share(0.2)
@given(credential=CREDENTIALS, document=QUERIES)
def test_any_query_that_fits_the_schema(fuzzed: Fuzzed, credential: str, document: str) -> None:
    fuzzed.try_document(document, credential)


@share(0.2)
@given(credential=CREDENTIALS, document=MUTATIONS)
def test_any_mutation_that_fits_the_schema(fuzzed: Fuzzed, credential: str, document: str) -> None:
    fuzzed.try_document(document, credential)


@st.composite
def spoiled_documents(draw: st.DrawFn) -> str:
    """Return a document with some characters taken out, doubled or put in, as nobody would write it."""
    text: str = draw(QUERIES | MUTATIONS)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        put = draw(st.text(max_size=5) | st.sampled_from(["{", "}", '"""', "...", "@skip(if: $x)", "\ufeff", "$", "#"]))
        text = text[:at] + put + text[at + draw(st.integers(0, 3)) :]
    return text


@share(0.15)
@given(document=spoiled_documents(), variables=st.none() | st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_any_document_that_does_not(fuzzed: Fuzzed, document: str, variables: dict[str, Any] | None) -> None:
    try:
        body = orjson.dumps({"query": document, "variables": variables})
    except TypeError:
        return  # an integer that no JSON encoder of ours writes
    require_answer(fuzzed.ask(body, presented(fuzzed, "cookie")))


@share(0.15)
@given(body=st.binary(max_size=300) | JSON.map(lambda value: repr(value).encode("utf-8", "surrogatepass")))
def test_any_body(fuzzed: Fuzzed, body: bytes) -> None:
    require_answer(fuzzed.ask(body))


@share(0.1)
@given(
    members=st.dictionaries(st.sampled_from(["query", "variables", "operationName", "extensions", "documentId"]), JSON)
)
def test_any_members(fuzzed: Fuzzed, members: dict[str, Any]) -> None:
    try:
        body = orjson.dumps({"query": "{ viewer { id } }"} | members)
    except TypeError:
        return
    require_answer(fuzzed.ask(body))


# What may stand in a header's value on the wire: anything but what ends the line.
WIRE = st.binary(max_size=60).map(lambda value: re.sub(rb"[\r\n\x00]", b"", value))
NAMES = st.sampled_from(
    [
        b"accept", b"authorization", b"cookie", b"origin", b"sec-fetch-site", b"x-forwarded-for", b"content-type",
        b"user-agent", b"content-encoding", b"x-request-id", b"access-control-request-method", b"referer", b"host",
        b"accept-encoding", b"if-none-match", b"range", b"te", b"upgrade-insecure-requests",
    ]
)  # fmt: skip
COOKIES = st.lists(
    st.tuples(st.sampled_from([b"watchword-access", b"watchword-session", b"x", b""]), WIRE), max_size=4
).map(lambda pairs: (b"cookie", b"; ".join(b"=".join(pair) for pair in pairs)))


@share(0.2)
@given(
    method=st.sampled_from([b"POST", b"POST", b"POST", b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"PROPFIND"]),
    path=st.sampled_from([b"/graphql", b"/graphql?query={__typename}", b"/oauth/token", b"/oauth/revoke", b"/readyz"]),
    headers=st.lists(st.tuples(NAMES, WIRE) | COOKIES, max_size=6),
    body=st.sampled_from([b"", b'{"query":"{ viewer { id } }"}', b"grant_type=client_credentials", b"\xff"]),
)
def test_any_headers(
    fuzzed: Fuzzed, method: bytes, path: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    lines = [b"%b: %b" % header for header in headers]
    if not any(name == b"host" for name, _ in headers):
        lines.append(b"host: 127.0.0.1")
    lines += [b"content-length: %d" % len(body), b"connection: close"]
    sent = b"%b %b HTTP/1.1\r\n%b\r\n\r\n%b" % (method, path, b"\r\n".join(lines), body)
    answered = exchange(fuzzed.server, sent)
    status = int(answered.split(b" ", 2)[1])
    assert 200 <= status < 500, (sent, answered)
    head, _, content = answered.partition(b"\r\n\r\n")
    assert not INSIDE.search(content.decode("latin-1"))
    if status >= 400 and method != b"HEAD":
        assert re.search(rb"content-type: application/(graphql-response\+)?json", head, re.IGNORECASE), (sent, answered)
        assert {"errors", "error"} & orjson.loads(content).keys(), (sent, answered)


def exchange(server: Server, sent: bytes) -> bytes:
    """Send bytes as they are, and return all that comes back before the connection is closed."""
    address = httpx2.URL(server.url)
    with closing(socket.create_connection((address.host, address.port or 80), timeout=PATIENCE)) as connection:
        connection.sendall(sent)
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
    return received
