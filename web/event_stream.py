"""Answers as server-sent events: graphql-sse's protocol, one connection for one operation.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md, "distinct connections mode": once a request is one,
whatever comes of it is an event, its refusal too. JSON has no line breaks of its own, so an event has one line of data.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from starlette.types import Receive, Send

from schema.execution import Answer
from web.responses import encoded

# Proxies close what is silent for half a minute or a minute.
_SIGN_EVERY = timedelta(seconds=12)
_SIGN_OF_LIFE = b":\n\n"
_COMPLETE = b"event: complete\ndata: \n\n"

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back until it has a buffer full
]


async def send_event_stream(
    answers: Answer | AsyncGenerator[Answer],
    receive: Receive,
    send: Send,
    more: Iterable[tuple[bytes, bytes]],
    *,
    draining: asyncio.Event,
    note: Callable[[str], None],
) -> None:
    """Send answers as they come, until the last one, until the client is gone, or until the server is `draining`.

    The code of what is refused meanwhile is noted for the log.

    A stream that ends without `complete` was broken off: its client subscribes anew.
    """
    start = {"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *more]}
    if isinstance(answers, Answer):
        await send(start)
        await _send(send, _next(answers) + _COMPLETE, more=False)
        return
    async with aclosing(answers):
        await send(start)
        await _send(send, _SIGN_OF_LIFE)  # some browsers tell a page of an answer only when its body begins
        causes = [asyncio.ensure_future(_disconnected(receive)), asyncio.ensure_future(draining.wait())]
        try:
            is_complete = await _follow(answers, causes, send, note)
        finally:
            await _cancel(*causes)
    await _send(send, _COMPLETE if is_complete else b"", more=False)


async def _follow(
    answers: AsyncGenerator[Answer], causes: Sequence[asyncio.Future[Any]], send: Send, note: Callable[[str], None]
) -> bool:
    """Send each answer; return whether that was all of them, and not one of the causes to leave off."""
    while True:
        upcoming: asyncio.Future[Answer | None] = asyncio.ensure_future(anext(answers, None))
        try:
            while not upcoming.done():
                await asyncio.wait(
                    [upcoming, *causes], timeout=_SIGN_EVERY.total_seconds(), return_when=asyncio.FIRST_COMPLETED
                )
                if any(cause.done() for cause in causes):
                    return False
                if not upcoming.done():
                    await _send(send, _SIGN_OF_LIFE)
            if (answer := upcoming.result()) is None:
                return True
            if answer.code is not None:
                note(answer.code)
            await _send(send, _next(answer))
        finally:
            await _cancel(upcoming)


async def _cancel(*futures: asyncio.Future[Any]) -> None:
    for future in futures:
        future.cancel()
    await asyncio.gather(*futures, return_exceptions=True)


def _next(answer: Answer) -> bytes:
    return b"event: next\ndata: " + encoded(answer.as_response()) + b"\n\n"


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
