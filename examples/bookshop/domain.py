"""What the bookshop is before it has fields: its name, its scopes and who holds them, its tables and its service.

The resolvers need it to reach the service, and the finished domain needs the resolvers; so this half stands alone, and
the package puts the two together.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from auth import Auth
from examples.bookshop.service import READ, WRITE, Bookshop
from schema import Domain


@asynccontextmanager
async def open_shop(auth: Auth) -> AsyncIterator[Bookshop]:
    """Open the shop for as long as the server runs. What it had to close would be closed in a `finally`."""
    yield Bookshop(auth)


foundation = Domain(
    name="books",
    scopes={READ: "Read the catalogue and your shelf", WRITE: "Add to the catalogue and change your shelf"},
    grants={"user": [READ, WRITE]},
    migrations=Path(__file__).parent / "migrations",
    lifespan=open_shop,
)
