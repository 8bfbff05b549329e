"""How much one caller may have told: so many streams at a time, and each event paid for; and nothing of it breaks."""

import socket
import struct
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from typing import Any

import httpx2
import pytest

import store.users
from auth.audit import Act
from auth.origin import Origin
from schema.execution import MOST_STREAMS
from tests.house import House, OpenHouse
from tests.running import Server, serving, wait_until
from tests.streams import Stream, following, listeners, until

MINE = "subscription { viewerEvents { action } }"

HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)


async def test_a_caller_has_so_many_streams_and_others_have_theirs(open_house: OpenHouse) -> None:
    house = await open_house(budget=0)
    ada, bob = await house.person("ada"), await house.person("bob")
    async with AsyncExitStack() as stack:
        for _ in range(MOST_STREAMS):
            await stack.enter_async_context(following(house, ada.client, MINE))
        async with following(house, ada.client, MINE) as one_more:
            (error,) = (await one_more.answer())["errors"]
            assert error["extensions"]["code"] == "RATE_LIMITED"
        async with following(house, bob.client, MINE) as his:
            await house.client().log_in(bob.email)
            assert (await his.event())["action"] == "SESSION_START"
    await until(lambda: listeners(house) == 0)
    async with following(house, ada.client, MINE) as again:
        await house.client().log_in(ada.email)
        assert (await again.event())["action"] == "SESSION_START"


async def test_each_event_is_paid_for_and_who_has_nothing_left_is_told_so(open_house: OpenHouse) -> None:
    house = await open_house(budget=300)
    ada = await house.person("ada")
    house.clock.stop()  # nothing comes back
    told = 0
    async with following(house, ada.client, MINE) as stream:
        while "errors" not in (answer := await failed_login_told(house, ada.email, stream)):
            told += 1
        assert answer["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
        with pytest.raises(StopAsyncIteration):
            await stream.answer()
    assert 10 < told < 300


async def failed_login_told(house: House, email: str, stream: Stream) -> dict[str, Any]:
    origin = Origin("192.0.2.1")
    user = await store.users.find_by_email(house.auth.database, email)
    assert user is not None
    await house.auth.audit.record_alone(Act.LOGIN_FAIL, origin, concerning=user.id)
    return await stream.answer()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that must have nothing to report when these tests have ended."""
    with serving(tmp_path_factory.mktemp("frames") / "data", log_format="json") as running:
        yield running
        assert [line for line in running.log_lines() if line.get("level") in {"error", "critical"}] == []


def frame(payload: bytes, opcode: int = 1, *, is_last: bool = True) -> bytes:
    """Return a frame of a client's, under the mask that changes nothing."""
    length = len(payload)
    size = bytes([0x80 | length]) if length < 126 else bytes([0x80 | 126]) + struct.pack(">H", length)
    return bytes([(0x80 if is_last else 0) | opcode]) + size + b"\0\0\0\0" + payload


PING = frame(b'{"type":"ping"}')


@pytest.mark.parametrize(
    "frames",
    [
        PING * 400,
        PING + frame(b"\xff"),
        PING + frame(b"", opcode=7),
        PING + frame(b"", is_last=False) + frame(b"", 0, is_last=False) * 300,
        PING + frame(b"\x03\xe8", opcode=8),
        PING + frame(b"\x00\x01", opcode=8),
        PING + b"\x81\x02{}",
        frame(b'{"type":"ping","payload":{"a":99999999999999999999999}}'),
    ],
    ids=["a flood", "no UTF-8", "no opcode", "fragments", "a close", "no close code", "no mask", "a large number"],
)
def test_whatever_frames_come_the_socket_ends_or_answers_and_nothing_breaks(server: Server, frames: bytes) -> None:
    url, before = httpx2.URL(server.url), ended(server)
    with closing(socket.create_connection((url.host, url.port or 80), timeout=5)) as connection:
        connection.sendall(HANDSHAKE)
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(4_096)
        assert b" 101 " in received
        connection.sendall(frames)
        connection.recv(4_096)
    wait_until(lambda: ended(server) > before, server.everything)
    assert httpx2.get(f"{server.url}/healthz", timeout=5).json() == {"status": "ok"}


def ended(server: Server) -> int:
    """Return how many sockets have had their line in the log."""
    return sum(line.get("event") == "socket" for line in server.log_lines())
