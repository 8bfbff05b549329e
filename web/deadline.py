"""A deadline that costs nothing where there is nothing to wait for."""

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, TypeVar

Result = TypeVar("Result")


async def within(seconds: float, awaitable: Awaitable[Result]) -> Result:
    """Return what an awaitable returns. Raises TimeoutError when that takes longer.

    Nearly every body is there already when it is asked for. So it is asked first, and a timer, which takes longer than
    all else that is done with a small body, is set only if it turns out that there is something to wait for.
    """
    if not isinstance(awaitable, Coroutine):
        async with asyncio.timeout(seconds):
            return await awaitable
    result: Result
    try:
        waits_for = awaitable.send(None)
    except StopIteration as finished:
        result = finished.value
        return result
    async with asyncio.timeout(seconds):
        result = await _Begun(awaitable, waits_for)
        return result


class _Begun:
    """The rest of a coroutine that was asked once, and waits for something."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        waits_for = self._waits_for
        while True:
            try:
                try:
                    sent = yield waits_for
                except BaseException as error:  # noqa: BLE001 - a cancellation is the coroutine's to see
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(sent)
            except StopIteration as finished:
                return finished.value
