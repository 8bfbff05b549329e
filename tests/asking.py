"""A load that asks without pause and sees everything: on which connection each answer came, and how that ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.running import Server

_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Load:
    """What came of it. A request `failed` when it was sent and not answered, or was answered with anything but 200."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)
    refused: int = 0  # connections that could not be opened
    told: int = 0  # connections of which an answer said that it was the last one


@asynccontextmanager
async def asking(server: Server, *, connections: int = 8) -> AsyncIterator[Load]:
    """Ask on so many connections during the block; each that is closed is opened anew, as long as that is possible."""
    load = Load()
    is_over = asyncio.Event()
    asking = [asyncio.create_task(_ask(server, load, is_over)) for _ in range(connections)]
    try:
        yield load
    finally:
        is_over.set()
        await asyncio.gather(*asking)


async def _ask(server: Server, load: Load, is_over: asyncio.Event) -> None:
    while not is_over.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(server.port))
        except OSError:
            load.refused += 1
            return
        try:
            await _converse(reader, writer, load, is_over)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, load: Load, is_over: asyncio.Event
) -> None:
    is_first, is_last = True, False
    while not (is_over.is_set() or is_last):
        try:
            writer.write(_REQUEST)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        except (OSError, asyncio.IncompleteReadError) as lost:
            if is_first:  # nobody had accepted the connection yet
                load.refused += 1
            else:
                load.failed.append(repr(lost))
            return
        if not head.startswith(b"http/1.1 200 "):
            load.failed.append(repr(head))
        load.answered += 1
        is_first, is_last = False, b"\r\nconnection: close\r\n" in head
        load.told += is_last
