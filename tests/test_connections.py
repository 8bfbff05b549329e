"""Connections: how long a client may take, how much it may send, how many there may be, and what is HTTP at all.

Time passes here: a server's patience with a socket cannot be moved by a clock.
"""

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import timedelta
from ipaddress import ip_network
from typing import Any, cast

import httpx2
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from tests.running import ROOT, Server, serving, wait_until
from web.connections import ConnectionLimits, Connections
from web.listening import listening

PATIENCE = 1.0  # seconds; the least that may be set
AT_THE_LATEST = 6.0  # seconds: its patience, the grain of the sweep twice, and a busy machine
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
LAST = GET + b"Connection: close\r\n\r\n"
POST = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
QUERY = b'{"query":"{ __typename }"}'
UPGRADE = b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
WEBSOCKET = b"GET /graphql HTTP/1.1\r\n" + UPGRADE + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


class Caller:
    """A stranger with a socket, who sends bytes and sees what comes back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def until_closed(self, seconds: float = AT_THE_LATEST) -> bytes:
        """Return all that the server sends until it closes; fail when it does not."""
        said = bytearray()
        try:
            async with asyncio.timeout(seconds):
                while data := await self.reader.read(65536):
                    said += data
        except ConnectionError:
            pass
        return bytes(said)

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(AT_THE_LATEST):
            return await self.reader.readuntil(end)

    def abort(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def calling(port: str, data: bytes = b"") -> AsyncIterator[Caller]:
    # Little is kept for a client on either side, so that one which does not read is soon noticed.
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", int(port)))
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            writer.write(data)
            yield Caller(reader, writer)
        finally:
            writer.transport.abort()


async def said_to(port: str, *segments: bytes) -> bytes:
    """Send these segments, one after the other, and return all that is answered until the connection is closed."""
    async with calling(port) as caller:
        for segment in segments:
            caller.send(segment)
            await asyncio.sleep(0)
        return await caller.until_closed()


async def until(holds: Callable[[], bool], seconds: float = AT_THE_LATEST) -> None:
    """Return as soon as it holds in the server's thread; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def status_of(said: bytes) -> int:
    assert said.startswith(b"HTTP/1.1 "), said
    return int(said[9:12])


def code_of(said: bytes) -> tuple[int, str]:
    """Return the status and the code of the one answer that there is, which is a refusal in the usual shape."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert said.count(b"HTTP/1.1 ") == 1, said
    lines = head.lower().split(b"\r\n")
    assert any(line.startswith(b"content-type: application/json") for line in lines)
    assert b"content-length: %d" % len(body) in lines
    assert b"connection: close" in lines
    (error,) = json.loads(body)["errors"]
    assert set(error) == {"message", "extensions"}
    # No id that the log does not have: the application gives one, and the connection none.
    assert ("requestId" in error["extensions"]) == any(line.startswith(b"x-request-id: ") for line in lines)
    return status_of(said), error["extensions"]["code"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        tmp_path_factory.mktemp("served") / "data", request_timeout="PT1S", connections_per_address="160"
    ) as running:
        yield running
        assert "Traceback" not in running.logged()
        assert {line["status"] for line in running.log_lines() if line["event"] == "request"} <= {200, 400, 404, 413}


# A small application in the same process, to see from within what becomes of its requests


class Listener:
    """A server in a thread of its own, with an application of some lines; `seen` is what that was asked."""

    def __init__(self, **limits: Any) -> None:
        self.seen: list[Scope] = []
        self.ended: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = str(self._socket.getsockname()[1])
        given = {"timeout": timedelta(seconds=PATIENCE), "connections": 500, "per_address": 400, **limits}
        options: dict[str, Any] = {"interface": "asgi3", "lifespan": "off", "log_config": None, "proxy_headers": False}
        options |= {"timeout_keep_alive": 1, "timeout_graceful_shutdown": 1}
        config = listening(self._answer, ConnectionLimits(**given), **options)
        self.connections: Connections = config.connections
        self.server = uvicorn.Server(config)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope)
        answer = _echo if scope["type"] == "websocket" else _ANSWERS[scope["path"]]
        try:
            await answer(scope, receive, send)
        finally:
            self.ended.append(scope["path"])

    @contextmanager
    def running(self) -> Iterator["Listener"]:
        thread = threading.Thread(target=self.server.run, args=([self._socket],))
        thread.start()
        try:
            yield self
        finally:
            self.server.should_exit = True
            thread.join(15)
            assert not thread.is_alive()

    async def is_empty(self) -> None:
        await until(lambda: not len(self.connections) and not self.server.server_state.tasks, 3 * AT_THE_LATEST)


async def _ok(scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [(b"x-seen", b",".join(name for name, _ in scope["headers"]))]
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def _read_first(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body before anything else, as any application does."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    await _ok(scope, receive, send)


async def _read_late(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(2 * PATIENCE)
    await _read_first(scope, receive, send)


async def _for_ever(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(2_000):
        await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})


async def _large(_scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"8000000"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * 8_000_000})


async def _until_disconnect(_scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"event", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/refused":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    await receive()
    while (message := await receive())["type"] == "websocket.receive":
        size = len(message.get("text") or message.get("bytes") or "")
        await send({"type": "websocket.send", "text": str(size)})


_ANSWERS: dict[str, Callable[[Scope, Receive, Send], Awaitable[None]]] = {
    "/healthz": _ok,
    "/graphql": _read_first,
    "/late": _read_late,
    "/for-ever": _for_ever,
    "/large": _large,
    "/events": _until_disconnect,
}


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    with Listener().running() as running:
        yield running


# How long a client may take


async def test_a_header_that_does_not_arrive_ends_the_connection_and_other_users_are_served_meanwhile(
    server: Server,
) -> None:
    async def slow(beginning: bytes) -> tuple[bytes, float]:
        began = time.monotonic()
        async with calling(server.port, beginning) as caller:
            said = asyncio.create_task(caller.until_closed(2 * AT_THE_LATEST))
            while not said.done():  # a byte now and then does not help
                await asyncio.wait([said], timeout=0.2)
                if beginning:
                    caller.send(b"x")
            return await said, time.monotonic() - began

    beginnings = [b"", b"GET /", b"GET /healthz?", GET, GET + b"X-Slow: "] * 30
    strangers = asyncio.gather(*map(slow, beginnings))
    served = []
    async with server.client() as client:
        while not strangers.done():
            began = time.monotonic()
            assert (await client.get("/healthz")).status_code == 200
            served.append(time.monotonic() - began)
            await asyncio.sleep(0.01)
    assert len(served) > 10
    assert max(served) < 1
    for beginning, (said, seconds) in zip(beginnings, await strangers, strict=True):
        assert PATIENCE <= seconds < 2 * AT_THE_LATEST
        assert said == b"" if beginning == b"" else code_of(said) == (408, "BAD_REQUEST")


async def test_the_second_header_on_a_connection_has_its_time_too(server: Server) -> None:
    async with calling(server.port, GET + b"\r\n") as caller:
        assert status_of(await caller.until(b'{"status":"ok"}')) == 200
        caller.send(b"GET /healthz HTTP/1.1\r\n")
        assert code_of(await caller.until_closed()) == (408, "BAD_REQUEST")


async def test_a_body_that_does_not_arrive_ends_the_connection(listener: Listener) -> None:
    async def slow(path: bytes, framing: bytes, begun: bytes) -> bytes:
        async with calling(listener.port, b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + framing + begun) as caller:
            said = asyncio.create_task(caller.until_closed())
            while not said.done():
                await asyncio.wait([said], timeout=0.2)
                caller.send(b"1\r\nx\r\n" if b"chunked" in framing else b"x")
            return await said

    length, chunked = b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"
    read, chunks, not_read, extension = await asyncio.gather(
        slow(b"/graphql", length, b""),
        slow(b"/graphql", chunked, b""),
        slow(b"/healthz", length, b""),
        slow(b"/graphql", chunked, b"1;"),
    )
    assert code_of(read) == code_of(chunks) == (408, "BAD_REQUEST")
    assert code_of(extension)[1] == "BAD_REQUEST"
    assert not_read.endswith(b"ok")  # answered before the body was there: then there is nothing to add
    assert not_read.count(b"HTTP/1.1 ") == 1
    await listener.is_empty()


async def test_a_client_that_waits_for_100_continue_is_not_slow(server: Server) -> None:
    head = POST + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(QUERY)
    async with calling(server.port, head) as caller:
        assert await caller.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.send(QUERY)
        assert (await caller.until_closed()).endswith(b'{"data":{"__typename":"Query"}}')


async def test_who_does_not_read_the_answer_is_disconnected_and_the_application_is_told(listener: Listener) -> None:
    began = len(listener.ended)
    async with (
        calling(listener.port, b"GET /for-ever HTTP/1.1\r\nHost: x\r\n\r\n"),
        calling(listener.port, b"GET /for-ever HTTP/1.1\r\nHost: x\r\n\r\n" + GET + b"\r\n"),
        calling(listener.port, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"),
    ):
        await until(lambda: listener.ended[began:].count("/for-ever") == 2)
        assert "/healthz" not in listener.ended[began:]
        await listener.is_empty()


async def test_a_client_that_the_application_lets_wait_is_not_slow(listener: Listener) -> None:
    async def stream() -> None:
        async with calling(listener.port, b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n") as caller:
            await caller.until(b"event")
            with pytest.raises(TimeoutError):
                await caller.until_closed(2 * PATIENCE)

    async def upload(body: bytes) -> bytes:
        head = b"POST /late HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n" % len(body)
        return await said_to(listener.port, head + b"\r\n" + body)

    async def upload_when_asked() -> bytes:
        head = b"POST /late HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n"
        async with calling(listener.port, head + b"Expect: 100-continue\r\n\r\n") as caller:
            await caller.until(b"100 Continue\r\n\r\n")
            caller.send(b"x")
            return await caller.until_closed()

    _, *uploaded = await asyncio.gather(stream(), upload(b"x" * 900_000), upload_when_asked())
    assert [status_of(said) for said in uploaded] == [200, 200]
    await listener.is_empty()


# How much it may send


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (LAST[:-2] + b"X: " + b"x" * 32_000 + b"\r\n\r\n", 200),
        (LAST[:-2] + b"X: x\r\n" * 98 + b"\r\n", 200),
        (b"GET /healthz?" + b"x" * 30_000 + LAST[12:], 200),
        (LAST[:-2] + b"X: x\r\n" * 99 + b"\r\n", 431),
        (GET + b"X: " + b"x" * 33_000 + b"\r\n\r\n", 431),
        (GET + b"X: " + b"x" * 1_000_000, 431),
        (GET + b"x" * 1_000_000, 431),
        (GET + b"X: x\r\n" * 100_000 + b"\r\n", 431),
        (b"GET /" + b"x" * 1_000_000, 431),
        (b"GET /" + b"x" * 33_000 + LAST[12:], 431),
    ],
    ids=lambda value: f"{value[:20]!r}, {len(value)} bytes" if isinstance(value, bytes) else str(value),
)
async def test_a_header_is_taken_up_to_32_kib_and_100_lines(server: Server, head: bytes, status: int) -> None:
    for segments in ([head], [head[:20_000], head[20_000:]]):
        said = await said_to(server.port, *segments)
        assert status_of(said) == status
        if status != 200:
            assert code_of(said) == (status, "BAD_REQUEST")


async def test_blank_lines_are_no_way_to_stay(server: Server) -> None:
    assert await said_to(server.port, b"\r\n" * 50_000) == b""


@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 50000000\r\n\r\n" + b"x" * 3_000_000,
        b"Transfer-Encoding: chunked\r\n\r\nffffff\r\n" + b"x" * 3_000_000,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 500_000,
        b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 3_000_000,
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: " + b"x" * 3_000_000,
    ],
    ids=["length", "chunk", "chunks", "extension", "trailer"],
)
async def test_a_body_that_is_too_large_is_not_read_to_its_end(server: Server, framed: bytes) -> None:
    assert code_of_first(await said_to(server.port, POST + framed)) == (413, "BAD_REQUEST")


def code_of_first(said: bytes) -> tuple[int, str]:
    return status_of(said), json.loads(said.partition(b"\r\n\r\n")[2])["errors"][0]["extensions"]["code"]


# What is HTTP


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz HTTP/1.2\r\nHost: x\r\n\r\n",
        b"OPTIONS /healthz RTSP/1.2\r\nHost: x\r\n\r\n",
        b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /é HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        b"GET /healthz HTTP/1.1\nHost: x\n\n",  # bare LF
        b"GET /healthz HTTP/1.1\r\n\r\n",  # no Host
        GET + b"Host: y\r\n\r\n",
        GET + b"X: a\r\n b\r\n\r\n",  # obs-fold
        GET + b"X: a\rY: b\r\n\r\n",
        GET + b"X: a\nY: b\r\n\r\n",
        GET + b"X : a\r\n\r\n",
        GET + b"X: a\0b\r\n\r\n",
        GET + b": a\r\n\r\n",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        POST + b"Content-Length: 1, 1\r\n\r\nx",
        POST + b"Content-Length: +1\r\n\r\nx",
        POST + b"Content-Length: -1\r\n\r\nx",
        POST + b"Content-Length: 0x1\r\n\r\nx",
        POST + b"Content-Length: 99999999999999999999\r\n\r\nx",
        POST + b"Transfer-Encoding: identity\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxzz\r\n",  # in the middle of what the application reads
    ],
)
async def test_what_is_not_http_1_1_is_a_coded_400(server: Server, sent: bytes) -> None:
    assert code_of(await said_to(server.port, sent)) == (400, "BAD_REQUEST")
    assert code_of(await said_to(server.port, *(sent[at : at + 1] for at in range(len(sent))))) == (400, "BAD_REQUEST")


async def test_what_is_unusual_http_is_answered(server: Server) -> None:
    for sent in (
        b"GET http://x/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /healthz HTTP/1.0\r\n\r\n",
        b"\r\n" + LAST,
        LAST[:-2] + b"Content-Length: 0\r\n\r\n",
    ):
        assert status_of(await said_to(server.port, sent)) == 200
    chunked = POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%s\r\n0\r\n\r\n"
    assert status_of(await said_to(server.port, chunked % (len(QUERY), QUERY))) == 200


async def test_trailers_do_not_pass_for_headers(listener: Listener) -> None:
    framed = (
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\nx\r\n0\r\nCookie: a=b\r\nX-Real-IP: y\r\n\r\n"
    )
    said = await said_to(listener.port, POST + framed)
    assert b"x-seen: host,content-type,transfer-encoding,connection\r\n" in said


async def test_an_upgrade_to_anything_else_is_ignored_and_the_body_is_no_second_request(listener: Listener) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
    head = POST + upgrade + b"Content-Length: %d\r\n\r\n" % len(LAST)
    for segments in ([head + LAST + LAST], [head, LAST, LAST]):
        began = len(listener.seen)
        said = await said_to(listener.port, *segments)
        assert said.count(b"HTTP/1.1 200 OK") == 2
        assert [scope["path"] for scope in listener.seen[began:]] == ["/graphql", "/healthz"]
    said = await said_to(listener.port, GET + upgrade + b"\r\n" + LAST)
    assert said.count(b"HTTP/1.1 200 OK") == 2


# Requests behind requests


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    unknown = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    said = await said_to(server.port, GET + b"\r\n" + unknown + GET + b"\r\n" + unknown + LAST)
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200", b"404", b"200", b"404", b"200"]


async def test_pipelined_requests_are_not_queued_without_bound(listener: Listener) -> None:
    began = len(listener.seen)
    said = await said_to(listener.port, (GET + b"\r\n") * 5_000)
    assert 1 <= said.count(b"HTTP/1.1 200 OK") == len(listener.seen) - began <= 20
    assert said.endswith(b"ok")


@pytest.mark.parametrize(
    "behind",
    [b"GARBAGE\r\n\r\n", WEBSOCKET + b"\r\n", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"],
)
async def test_what_comes_behind_a_request_does_not_spoil_its_answer(listener: Listener, behind: bytes) -> None:
    said = await said_to(listener.port, GET + b"\r\n" + behind)
    assert said.count(b"HTTP/1.1 ") == 1
    assert status_of(said) == 200
    assert said.endswith(b"ok")


async def test_whoever_leaves_while_others_wait_behind_is_missed(listener: Listener) -> None:
    async with calling(listener.port, b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n" + GET + b"\r\n") as caller:
        await caller.until(b"event")
    await listener.is_empty()


# How many there may be


async def test_more_connections_than_one_address_may_have_are_refused_until_it_closes_one() -> None:
    with Listener(per_address=5).running() as listener:
        async with calling(listener.port, WEBSOCKET + b"\r\n") as websocket:
            await websocket.until(b"\r\n\r\n")  # it counts as before
            held = [calling(listener.port, GET + b"\r\n") for _ in range(4)]
            for each in held:
                await (await each.__aenter__()).until(b"ok")
            assert code_of(await said_to(listener.port, LAST)) == (503, "UNAVAILABLE")
            assert code_of(await said_to(listener.port)) == (503, "UNAVAILABLE")
            await held[0].__aexit__(None, None, None)
            while status_of(said := await said_to(listener.port, LAST)) != 200:
                assert code_of(said) == (503, "UNAVAILABLE")
            for each in held[1:]:
                await each.__aexit__(None, None, None)
        await listener.is_empty()
        assert len([scope for scope in listener.seen if scope["type"] == "http"]) == 5


async def test_there_is_a_most_for_all_addresses_together_which_holds_for_a_proxy_too() -> None:
    with Listener(connections=3, per_address=1, trusted_proxies=[ip_network("127.0.0.0/8")]).running() as listener:
        held = [calling(listener.port, GET + b"\r\n") for _ in range(3)]
        for each in held:
            await (await each.__aenter__()).until(b"ok")
        assert code_of(await said_to(listener.port, LAST)) == (503, "UNAVAILABLE")
        for each in held:
            await each.__aexit__(None, None, None)
        await listener.is_empty()


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("10.0.0.1", "10.0.0.1", False),  # the proxy
        ("::ffff:10.0.0.1", "10.0.0.1", False),
        (None, None, True),  # gone before it could be asked
    ],
)
async def test_an_address_is_one_of_ipv4_or_a_64_of_ipv6(first: str | None, second: str | None, alike: bool) -> None:
    connections = Connections(ConnectionLimits(timedelta(seconds=10), 10, 1, [ip_network("10.0.0.0/24")]))
    transports = [asyncio.Transport(), asyncio.Transport()]
    clients = [(host, 1) if host else None for host in (first, second)]
    assert connections.admit(transports[0], clients[0]) is None
    assert (connections.admit(transports[1], clients[1]) is not None) == alike
    for transport in transports * 2:
        connections.release(transport)
    assert len(connections) == 0


def test_there_are_fewer_connections_than_files_that_the_process_may_open() -> None:
    program = """
import resource
from datetime import timedelta
from web.connections import ConnectionLimits
from web.listening import listening
for soft, hard in ((400, 1_000), (600, 600), (100, 100)):
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print(listening(print, ConnectionLimits(timedelta(seconds=1), 500, 10), log_config=None).connections.most)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.isdecimal()] == ["500", "472", "1"]


async def test_however_connections_end_none_is_counted_afterwards(listener: Listener) -> None:
    async def abort(data: bytes) -> None:
        async with calling(listener.port, data) as caller:
            caller.send(b"")

    async def answered_and_left(data: bytes, end: bytes) -> None:
        async with calling(listener.port, data) as caller:
            await caller.until(end)

    async def half_closed(data: bytes) -> None:
        async with calling(listener.port, data) as caller:
            caller.writer.write_eof()
            await caller.until_closed(2 * AT_THE_LATEST)

    async def left_waiting(data: bytes) -> None:
        async with calling(listener.port, data) as caller:
            await caller.until_closed(4 * AT_THE_LATEST)

    opened = WEBSOCKET + b"\r\n"
    ways = [
        *(abort(data) for data in (b"", b"GET", GET + b"\r\n", POST + b"Content-Length: 9\r\n\r\nx", opened)),
        *(half_closed(data) for data in (b"", b"GET", GET + b"\r\n", opened)),
        *(left_waiting(data) for data in (b"", b"GET", GET + b"\r\n", POST + b"Content-Length: 9\r\n\r\nx")),
        *(said_to(listener.port, data) for data in (LAST, b"garbage\r\n\r\n", GET + b"x" * 40_000)),
        said_to(listener.port, WEBSOCKET.replace(b"/graphql", b"/refused") + b"\r\n"),
        said_to(listener.port, UPGRADE.join((b"GET / HTTP/1.1\r\n", b"\r\n"))),
        answered_and_left(GET + b"\r\n", b"ok"),
        answered_and_left(opened, b"\r\n\r\n"),
        answered_and_left(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n", b"event"),
    ]
    again = [abort(data) for data in (b"", b"GET", GET + b"\r\n", opened) for _ in range(60)]
    await asyncio.gather(*ways, *again)
    await listener.is_empty()
    assert len(listener.server.server_state.connections) == 0


# WebSockets


def frame(opcode: int, payload: bytes = b"", *, end: bool = True) -> bytes:
    """Return a client's frame (RFC 6455, section 5.2), under a mask that changes nothing."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2) if size < 65536 else b""
    return bytes([0x80 * end | opcode]) + (length or b"\xff" + size.to_bytes(8)) + bytes(4) + payload


def close_code(said: bytes) -> int:
    """Return the code of the close frame that the server sent last."""
    at = said.rindex(b"\x88")
    return int.from_bytes(said[at + 2 : at + 4])


@asynccontextmanager
async def open_websocket(listener: Listener, more: bytes = b"") -> AsyncIterator[Caller]:
    async with calling(listener.port, WEBSOCKET + more + b"\r\n") as caller:
        head = await caller.until(b"\r\n\r\n")
        assert status_of(head) == 101
        assert b"sec-websocket-extensions" not in head.lower()
        yield caller


async def test_a_websocket_takes_messages_up_to_the_size_of_a_body_and_none_is_compressed(listener: Listener) -> None:
    offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    async with open_websocket(listener, offer) as caller:
        for text in (b"hello", b"x" * 131_072):
            caller.send(frame(1, text))
            await caller.until(str(len(text)).encode())
        caller.send(b"".join(frame(1, b"x") for _ in range(200)))
        for _ in range(200):
            await caller.until(b"1")
        caller.send(frame(1, b"x" * 131_073))
        assert close_code(await caller.until_closed()) == 1009


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(1, end=False) + frame(0, end=False) * 2_000, 1009),
        (frame(1) * 40_000, 1008),
        (frame(2) * 40_000, 1008),
        (frame(1, b"\xff"), 1007),
        (frame(1, b"\xc3", end=False) + frame(0, b"("), 1007),
        (frame(3), 1002),
        (frame(0), 1002),
        (b"\xc1" + frame(1)[1:], 1002),  # compressed, which was not agreed
        (b"\x81\x01x", 1002),  # not masked
        (frame(9, b"x" * 126), 1002),
        (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff" + bytes(4), 1009),
    ],
    ids=lambda value: f"{value[:3].hex()} and {len(value)} bytes" if isinstance(value, bytes) else str(value),
)
async def test_a_websocket_that_sends_what_it_may_not_is_closed(listener: Listener, sent: bytes, code: int) -> None:
    async with open_websocket(listener) as caller:
        caller.send(sent)
        assert close_code(await caller.until_closed()) == code


async def test_a_websocket_that_asks_and_does_not_read_is_disconnected(listener: Listener) -> None:
    async with open_websocket(listener) as caller:
        caller.send(frame(9, b"x" * 125) * 200_000)
        (transport,) = listener.connections._origins
        kept: list[int] = []

        def gone() -> bool:
            kept.append(cast("asyncio.Transport", transport).get_write_buffer_size())
            return not len(listener.connections)

        await until(gone)
        assert 0 < max(kept) < 1_000_000


@pytest.mark.parametrize(
    ("request_line", "more", "status"),
    [
        (b"GET /graphql HTTP/1.1\r\n", b"", 400),
        (b"GET /graphql HTTP/1.1\r\n", b"Sec-WebSocket-Key: short\r\n", 400),
        (b"POST /graphql HTTP/1.1\r\n", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 405),
        (b"GET /graphql HTTP/1.1\r\n", b"Sec-WebSocket-Key: x\r\nContent-Length: 2\r\n", 400),
        (b"GET /graphql HTTP/1.1\r\n", b"Sec-WebSocket-Key: x\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"GET /graphql HTTP/1.1\r\n", b"Cookie: " + b"x" * 9_000 + b"\r\n", 431),
        (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n", b"", 414),
        (b"GET /graphql HTTP/1.1\r\n", b'Sec-WebSocket-Protocol: ","\r\n', 400),
        (b"GET /graphql?token=secret HTTP/1.1\r\n", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 400),
    ],
)
async def test_a_handshake_that_is_refused_is_a_coded_refusal(
    server: Server, request_line: bytes, more: bytes, status: int
) -> None:
    assert code_of(await said_to(server.port, request_line + UPGRADE + more + b"\r\n")) == (status, "BAD_REQUEST")
    assert "secret" not in server.logged()


# What the log says


async def test_a_flood_of_refusals_is_a_line_a_second_with_how_many_were_left_out(server: Server) -> None:
    flood = 100
    before = len(server.log_lines())

    def refusals() -> list[dict[str, Any]]:
        lines = server.log_lines()[before:]
        return [line for line in lines if line["event"].startswith("connection") and line["reason"] == "NOT_HTTP"]

    for _ in range(flood):
        await said_to(server.port, b"garbage\r\n\r\n")
    wait_until(
        lambda: sum(line.get("left_out", 1) for line in refusals()) >= flood,
        server.everything,
    )
    assert len(refusals()) < flood / 5
    assert {line["level"] for line in refusals()} == {"warning"}
    assert all(line["address"] == "127.0.0.1" for line in refusals() if line["event"] == "connection_refused")


def test_an_answer_reaches_a_client_that_is_still_sending_and_asked_to_be_disconnected(server: Server) -> None:
    url, size = httpx2.URL(server.url), 1_000_000
    head = b"POST /graphql HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n"
    with closing(socket.create_connection((url.host, url.port or 80), timeout=5)) as connection:
        connection.sendall(head + b"content-length: %d\r\n\r\n" % size + b" " * size)
        received = b""
        while chunk := connection.recv(4_096):
            received += chunk
    assert received.startswith(b"HTTP/1.1 413 ")
    assert received.endswith(b"}]}")
