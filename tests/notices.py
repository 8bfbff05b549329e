"""A domain with something to follow: notices, which are read out to whoever listens at the time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import strawberry

from auth import Auth
from schema import Domain, Info, IsAuthenticated, Public, has_role
from tests.house import House


class Board:
    """Reads notices out."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[str]] = set()
        self.is_begun = asyncio.Event()
        self.may_finish = asyncio.Event()

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def read_out(self, notice: str) -> None:
        for listener in self._listeners:
            listener.put_nowait(notice)

    async def follow(self) -> AsyncGenerator[str]:
        """Yield each notice, until one says that it is the last."""
        listener: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(listener)
        try:
            while (notice := await listener.get()) != "the last":
                if notice == "broken":
                    raise ZeroDivisionError("the text of the defect")
                yield notice
        finally:
            self._listeners.discard(listener)


@asynccontextmanager
async def _lifespan(_auth: Auth) -> AsyncIterator[Board]:
    yield Board()


@strawberry.type
class Mutation:
    @strawberry.mutation(permission_classes=[IsAuthenticated], description="Take until it is allowed to end.")
    async def deliberate(self, info: Info) -> str:
        board = NOTICES.of(info)
        board.is_begun.set()
        await board.may_finish.wait()
        return "decided"


@strawberry.type
class Subscription:
    @strawberry.subscription(permission_classes=[IsAuthenticated], description="What is read out.")
    async def notices(self, info: Info) -> AsyncGenerator[str]:
        async for notice in NOTICES.of(info).follow():
            yield notice

    @strawberry.subscription(permission_classes=[Public], description="The same, for everybody.")
    async def announcements(self, info: Info) -> AsyncGenerator[str]:
        async for notice in NOTICES.of(info).follow():
            yield notice

    @strawberry.subscription(permission_classes=[has_role("admin")], description="The same, for administrators.")
    async def minutes(self, info: Info) -> AsyncGenerator[str]:
        async for notice in NOTICES.of(info).follow():
            yield notice


NOTICES: Domain[Board] = Domain(name="notices", mutation=Mutation, subscription=Subscription, lifespan=_lifespan)


def board_of(house: House) -> Board:
    """Return the board of a house that has this domain."""
    board: Board = house.runtime.services[NOTICES.name]
    return board
