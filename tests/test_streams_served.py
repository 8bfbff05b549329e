"""Sockets and event streams of a server in a process of its own, with the frames and the signals of the real world."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from tests.house import LOG_IN, LOG_OUT, PASSWORD, SIGN_UP, Client
from tests.running import Server, serving

PROTOCOL = Subprotocol("graphql-transport-ws")
FOLLOW = "subscription { viewerEvents { action } }"
PATIENCE = 10.0
IN_TIME = 5.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("streams") / "data") as running:
        yield running


@pytest.fixture
async def ada(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with server.client() as client:
        email = f"{request.node.name[:40]}@example.org"
        await client.ask(SIGN_UP, {"input": {"email": email, "password": PASSWORD, "displayName": "Ada"}})
        await client.log_in(email)
        yield client


@asynccontextmanager
async def conversing(server: Server, client: Client | None = None) -> AsyncIterator[ClientConnection]:
    """Open a socket with the cookies of a client."""
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items()) if client else ""
    address = f"{server.url.replace('http', 'ws')}/graphql?token=hunter2"
    headers = {"Cookie": cookies} if cookies else {}
    async with connect(
        address, subprotocols=[PROTOCOL], additional_headers=headers, proxy=None, close_timeout=1
    ) as socket:
        await say(socket, type="connection_init")
        assert await hear(socket) == {"type": "connection_ack"}
        yield socket


async def say(socket: ClientConnection, **message: Any) -> None:
    await socket.send(orjson.dumps(message).decode())


async def hear(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        message: dict[str, Any] = orjson.loads(await socket.recv())
        return message


async def closed(socket: ClientConnection) -> tuple[int, str]:
    """Return how the server closed a socket."""
    async with asyncio.timeout(PATIENCE):
        await socket.wait_closed()
    assert socket.close_code is not None
    return socket.close_code, socket.close_reason or ""


async def follow(socket: ClientConnection, client: Client) -> None:
    """Subscribe, and go on once an event was told."""
    await say(socket, type="subscribe", id="1", payload={"query": FOLLOW})
    await hear_of_a_login(socket, client)


async def hear_of_a_login(socket: ClientConnection, client: Client) -> None:
    email = (await client.ask("{ viewer { user { email } } }")).data["viewer"]["user"]["email"]
    heard = asyncio.create_task(hear(socket))
    while not heard.done():  # nothing says when a subscription has begun
        by_body = {"input": {"email": email, "password": PASSWORD, "delivery": "BODY"}}
        assert (await client.ask(LOG_IN, by_body)).data
        await asyncio.wait([heard], timeout=0.2)
    assert (await heard)["payload"]["data"]["viewerEvents"]["action"] == "SESSION_START"


async def test_a_socket_is_opened_told_what_happens_and_ended_with_its_session(server: Server, ada: Client) -> None:
    async with conversing(server, ada) as socket:
        assert socket.subprotocol == PROTOCOL
        assert not socket.protocol.extensions  # a kilobyte of compressed nothing would be a megabyte here
        await follow(socket, ada)
        await ada.ask(LOG_OUT)
        async with asyncio.timeout(IN_TIME):
            while (message := await hear(socket))["type"] == "next":
                pass
            assert message["type"] == "error"
            assert message["payload"][0]["extensions"]["reason"] == "SESSION_REVOKED"
            assert await closed(socket) == (4401, "SESSION_REVOKED")


async def test_a_logout_in_another_process_ends_the_socket(server: Server, ada: Client) -> None:
    with serving(server.data_dir, public_url=server.url) as second:
        async with conversing(server, ada) as socket, second.client() as elsewhere:
            elsewhere.cookies.update(dict(ada.cookies))
            await elsewhere.ask(LOG_OUT)
            async with asyncio.timeout(IN_TIME):
                assert await closed(socket) == (4401, "SESSION_REVOKED")


@pytest.mark.parametrize(
    ("headers", "protocols", "status"),
    [
        ({"Origin": "https://evil.example"}, [PROTOCOL], 403),
        ({}, [Subprotocol("graphql-ws")], 400),
        ({}, None, 400),
    ],
)
async def test_a_socket_that_is_not_opened_is_refused_in_the_shape_of_every_refusal(
    server: Server, headers: dict[str, str], protocols: list[Subprotocol] | None, status: int
) -> None:
    address = f"{server.url.replace('http', 'ws')}/graphql"
    with pytest.raises(InvalidStatus) as refused:
        await connect(address, subprotocols=protocols, additional_headers=headers, proxy=None)
    response = refused.value.response
    assert response.status_code == status
    assert (
        orjson.loads(response.body or b"")["errors"][0]["extensions"]["requestId"] == response.headers["x-request-id"]
    )
    lines = await logged(server, response.headers["x-request-id"])
    assert [(line["event"], line["status"]) for line in lines] == [("socket", status)]


async def test_a_socket_that_is_refused_or_at_no_path_is_no_error_in_the_log(server: Server) -> None:
    refused = []
    for path, origin in (("/graphql", "https://evil.example"), ("/nothing", server.url)):
        address = f"{server.url.replace('http', 'ws')}{path}"
        with pytest.raises(InvalidStatus) as caught:
            await connect(address, subprotocols=[PROTOCOL], origin=Origin(origin), proxy=None)
        refused.append(caught.value.response)
    assert [response.status_code for response in refused] == [403, 404]
    await logged(server, refused[-1].headers["x-request-id"])
    assert "without completing" not in server.logged()
    assert "error" not in {line["level"] for line in server.log_lines()}


async def logged(server: Server, request_id: str) -> list[dict[str, Any]]:
    """Return what the log has of a request, as soon as it has something."""
    async with asyncio.timeout(PATIENCE):
        while not (lines := [line for line in server.log_lines() if line.get("request_id") == request_id]):
            async with server.client() as client:
                await client.get("/healthz")
    return lines


async def test_a_message_that_is_too_large_ends_the_socket_and_nobody_else_notices(server: Server, ada: Client) -> None:
    async with conversing(server, ada) as other, conversing(server) as socket:
        await say(socket, type="ping", payload={"x": "x" * 200_000})
        assert (await closed(socket))[0] == 1009
        await say(other, type="ping")
        assert await hear(other) == {"type": "pong"}


async def test_a_message_of_text_that_is_no_utf_8_ends_the_socket_and_nobody_else_notices(server: Server) -> None:
    async with conversing(server) as socket:
        await socket.send(b"\xff", text=True)
        assert (await closed(socket))[0] == 1007


async def test_a_thousand_messages_at_once_keep_nobody_else_waiting(server: Server, ada: Client) -> None:
    async with conversing(server, ada) as socket:
        with suppress(ConnectionClosed):  # more at once than any client has to say
            for number in range(1_000):
                await say(socket, type="subscribe", id=str(number), payload={"query": FOLLOW})
        async with asyncio.timeout(1):
            assert (await ada.get("/healthz")).status_code == 200
    async with conversing(server, ada) as socket:
        await say(socket, type="ping")
        assert await hear(socket) == {"type": "pong"}


async def test_when_the_server_ends_its_clients_are_told_to_come_back_and_it_does_not_wait_for_them(
    server: Server, ada: Client
) -> None:
    with serving(server.data_dir, public_url=server.url) as second:
        async with conversing(second, ada) as socket, second.client() as client:
            client.cookies.update(dict(ada.cookies))
            await follow(socket, ada)
            headers = {"accept": "text/event-stream"}
            async with client.stream("POST", "/graphql", json={"query": FOLLOW}, headers=headers) as stream:
                lines = stream.aiter_lines()
                assert await anext(lines) == ":"
                async with asyncio.timeout(IN_TIME):
                    assert await asyncio.to_thread(second.end) == 0
                assert not [line async for line in lines if line.startswith("event: complete")]
            assert (await closed(socket))[0] == 1012
        assert "error" not in {line["level"] for line in second.log_lines()}


async def test_the_log_has_sockets_without_their_query_strings(server: Server, ada: Client) -> None:
    async with conversing(server, ada) as socket:
        await say(socket, type="subscribe", id="1", payload={"query": "{ __typename }"})
        assert (await hear(socket))["type"] == "next"
    async with asyncio.timeout(PATIENCE):
        while not (sockets := [line for line in server.log_lines() if line["event"] == "socket"]):
            await ada.get("/healthz")
    assert sockets[-1]["path"] == "/graphql"
    assert "hunter2" not in server.logged()
