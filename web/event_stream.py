"""Answers as server-sent events: graphql-sse's protocol, one connection for one operation."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from datetime import timedelta
from typing import Any

from starlette.types import Receive, Send

from schema.execution import Answer
from web.responses import encoded

# Proxies close what is silent for half a minute or a minute.
_SIGN_OF_LIFE = timedelta(seconds=12)

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back until it has a buffer full
]


async def send_event_stream(
    answers: Answer | AsyncGenerator[Answer], receive: Receive, send: Send, more: Iterable[tuple[bytes, bytes]]
) -> None:
    """Send answers as they come, until the last one or until the client is gone."""
    await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *more]})
    if isinstance(answers, Answer):
        await _send(send, _next(answers))
    else:
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await _follow(answers, gone, send)
        finally:
            gone.cancel()
            await answers.aclose()
    await _send(send, b"event: complete\ndata: \n\n", more=False)


async def _follow(answers: AsyncGenerator[Answer], gone: asyncio.Future[Any], send: Send) -> None:
    while True:
        upcoming: asyncio.Future[Any] = asyncio.ensure_future(anext(answers))
        try:
            while not upcoming.done():
                await asyncio.wait(
                    [upcoming, gone], timeout=_SIGN_OF_LIFE.total_seconds(), return_when=asyncio.FIRST_COMPLETED
                )
                if gone.done():
                    return
                if not upcoming.done():
                    await _send(send, b":\n\n")
            await _send(send, _next(upcoming.result()))
        except StopAsyncIteration:
            return
        finally:
            if not upcoming.done():
                upcoming.cancel()
                await asyncio.wait([upcoming])


def _next(answer: Answer) -> bytes:
    return b"event: next\ndata: " + encoded(answer.as_response()) + b"\n\n"


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
