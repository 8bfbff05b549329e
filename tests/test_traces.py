"""Traces as whoever collects them gets them: one span a request, what it waited for within it, and no secret in any."""

import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from server import create_app
from settings import WrongSettings, load_settings
from tests.house import LOG_IN, PASSWORD, SIGN_UP, WHO_AM_I, Client, House
from tests.running import ROOT, serving
from tests.sockets import conversing
from web.traces import Traces

ELSEWHERE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{ELSEWHERE}-{PARENT}-01"


class TracedHouse(House):
    """A house whose spans are kept."""

    def __init__(self, data_dir: Path, **settings: Any) -> None:
        super().__init__(data_dir, **settings)
        self.exporter = InMemorySpanExporter()
        tracing = Traces(self.settings.trusted_proxies, lambda: SimpleSpanProcessor(self.exporter))
        self.app = create_app(self.settings, clock=self.clock, tracing=tracing)

    def spans(self) -> list[ReadableSpan]:
        """Return those that ended since this was asked last."""
        spans = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return spans


@pytest.fixture
async def traced(tmp_path: Path) -> AsyncIterator[TracedHouse]:
    async with TracedHouse(tmp_path / "traced", trusted_proxies="10.0.0.0/8") as house:
        yield house


def of_requests(spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
    return [span for span in spans if span.kind is SpanKind.SERVER]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_request_is_one_span_with_its_operation_its_outcome_and_its_id(traced: TracedHouse) -> None:
    ada = await traced.person("ada")
    traced.spans()
    answer = await ada.ask("query Mine { viewer { id } }")
    (span,) = traced.spans()
    assert (span.name, span.kind, span.parent) == ("query Mine", SpanKind.SERVER, None)
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "graphql.operation.type": "query",
        "graphql.operation.name": "Mine",
        "watchword.outcome": "ok",
        "watchword.request_id": answer.response.headers["x-request-id"],
    }
    assert span.resource.attributes["service.name"] == "watchword"
    assert span.status.status_code is StatusCode.UNSET
    await traced.client().ask("{ viewer { id } }")
    (refused,) = traced.spans()
    assert (refused.name, attributes(refused)["watchword.outcome"]) == ("query anonymous", "UNAUTHENTICATED")
    await traced.client().get("/.well-known/jwks.json")
    (other,) = traced.spans()
    assert (other.name, attributes(other)["http.response.status_code"]) == ("HTTP GET", 200)


async def test_the_hash_and_the_transactions_of_a_login_are_spans_within_its_own(traced: TracedHouse) -> None:
    ada = await traced.person("ada")
    traced.spans()
    await traced.client().log_in(ada.email)
    spans = traced.spans()
    (login,) = of_requests(spans)
    parts = [span for span in spans if span is not login]
    assert {span.name for span in parts} == {"hash a password", "database transaction"}
    assert login.context is not None
    assert {span.parent.span_id for span in parts if span.parent} == {login.context.span_id}
    assert all(attributes(span) == {} for span in parts)


async def test_each_operation_of_a_socket_is_a_span(traced: TracedHouse) -> None:
    ada = await traced.person("ada")
    traced.spans()
    async with conversing(traced, ada.client) as socket:
        await socket.ask("query First { viewer { id } }")
        socket.subscribe("query Second { nowhere }", "2")
        refused = await socket.refusal("2")
    first, second = of_requests(traced.spans())
    assert first.name == "query First"
    assert attributes(second)["watchword.outcome"] == "GRAPHQL_VALIDATION_FAILED"
    assert attributes(second)["watchword.request_id"] == refused["requestId"]


async def test_what_is_a_fault_of_ours_is_an_error_and_a_refusal_is_none(traced: TracedHouse) -> None:
    ada = await traced.person("ada")
    await traced.auth.database.close()
    traced.spans()
    await ada.ask("query Mine { viewer { id } }")
    (span,) = of_requests(traced.spans())
    assert (attributes(span)["watchword.outcome"], span.status.status_code) == ("UNAVAILABLE", StatusCode.ERROR)


async def test_probes_are_not_traced(traced: TracedHouse) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        await traced.client().get(path)
    assert traced.spans() == []


async def test_a_trace_is_continued_for_a_trusted_proxy_and_for_nobody_else(traced: TracedHouse) -> None:
    headers = {"traceparent": TRACEPARENT, "tracestate": "hunter=2", "baggage": "password=hunter2"}
    await traced.client("10.1.2.3", **headers).ask("{ __typename }")
    (continued,) = traced.spans()
    assert continued.context is not None
    assert continued.parent is not None
    assert (f"{continued.context.trace_id:032x}", f"{continued.parent.span_id:016x}") == (ELSEWHERE, PARENT)
    assert len(continued.context.trace_state) == 0
    await traced.client("192.0.2.1", **headers).ask("{ __typename }")
    await traced.client("10.1.2.3", traceparent="nonsense").ask("{ __typename }")
    for own in traced.spans():
        assert own.parent is None
        assert own.context is not None
        assert f"{own.context.trace_id:032x}" != ELSEWHERE


async def test_no_span_has_anything_that_somebody_wrote_but_the_names_of_operations(traced: TracedHouse) -> None:
    secrets = await lived(traced.client())
    await traced.client().get("/a/path/of/hunter2?with=hunter2", headers={"user-agent": "hunter2"})
    await traced.client().request("HUNTER2", "/graphql")
    everything = "\n".join(span.to_json() for span in traced.spans())
    assert "LogIn" in everything
    found = [secret for secret in (*secrets, "hunter2", "HUNTER2", "127.0.0.1") if secret in everything]
    assert found == []
    assert re.findall(r"\S+@\S+", everything) == []


async def lived(client: Client) -> list[str]:
    """Do what people do, rightly and wrongly, and return every secret that went to and fro."""
    email, wrong = "ada.traced@example.org", "a password that is wrong"
    await client.ask(SIGN_UP, {"input": {"email": email, "password": PASSWORD, "displayName": "Ada Lovelace"}})
    await client.log_in(email, wrong)
    tokens = (await client.log_in(email, delivery="BODY")).data["login"]
    await client.log_in(email)
    await client.ask(WHO_AM_I)
    await client.ask(f'mutation {{ login(input: {{email: "{email}", password: "{wrong}"}}) {{ __typename }} }}')
    await client.ask(LOG_IN, {"input": {"email": email, "password": [wrong]}})
    await client.ask(WHO_AM_I, authorization="Bearer not.a.token")
    await client.post("/oauth/token", data={"grant_type": "client_credentials", "client_secret": wrong})
    return [email, wrong, PASSWORD, "Lovelace", tokens["accessToken"], "not.a.token", *client.cookies.values()]


# To a collector


class Collector:
    """A collector at the other end: what it was sent, as bytes and read."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.bodies: list[bytes] = []

    def names(self) -> set[str]:
        read = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        scopes = [scope for each in read for resource in each.resource_spans for scope in resource.scope_spans]
        return {span.name for scope in scopes for span in scope.spans}


@contextmanager
def collecting() -> Iterator[Collector]:
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    collector = Collector(server.server_port)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_server_sends_its_spans_to_where_otels_own_variables_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "our-watchword")
        with serving(tmp_path / "data", traces="otlp") as server:
            async with server.client() as client:
                secrets = await lived(client)
            assert server.end() == 0  # what is left is sent before it ends
            assert {line["level"] for line in server.log_lines()} <= {"info", "warning"}
        assert {"mutation SignUp", "mutation LogIn", "hash a password", "database transaction"} <= collector.names()
        everything = b"".join(collector.bodies)
    assert b"our-watchword" in everything
    assert [secret for secret in secrets if secret.encode() in everything] == []


async def test_without_a_collector_requests_are_answered_and_the_server_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with serving(tmp_path / "data", traces="otlp") as server:
        async with server.client() as client:
            assert (await client.ask("{ __typename }")).data == {"__typename": "Query"}
        began = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - began < 10


# The packages


def test_traces_without_their_packages_are_a_fault_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(traces="otlp").traces == "otlp"
    for module in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, module, None)
            with pytest.raises(WrongSettings, match=r"WATCHWORD_TRACES: .*`pip install 'watchword\[otel\]'`"):
                load_settings(traces="otlp")


def test_a_server_that_does_not_trace_does_not_load_them() -> None:
    script = "import sys, server; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
