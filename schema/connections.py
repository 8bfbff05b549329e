"""Relay connections over keysets: a cursor names a row, so a page stays right while rows come and go."""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Annotated, Generic, TypeVar

import strawberry
from strawberry.relay import PageInfo

from auth.ids import is_id
from schema.errors import BadInput

LARGEST_PAGE = 100
USUAL_PAGE = 20

Node = TypeVar("Node")
Row = TypeVar("Row")

# The arguments of a field that gives pages.
First = Annotated[int, strawberry.argument(description="How many, 1 to 100.")]
After = Annotated[
    str | None,
    strawberry.argument(description="The cursor after which the page begins: `pageInfo.endCursor` of the page before."),
]


@strawberry.type(description="An item and the cursor that names its place.")
class Edge(Generic[Node]):
    """An edge of a connection."""

    cursor: str = strawberry.field(description="The item's place; pass it as `after` to go on from here.")
    node: Node = strawberry.field(description="The item.")


@strawberry.type(description="A page of items.")
class Connection(Generic[Node]):
    """A page, in Relay's shape."""

    edges: list[Edge[Node]] = strawberry.field(description="The items, each with its cursor.")
    nodes: list[Node] = strawberry.field(description="The items alone.")
    page_info: PageInfo = strawberry.field(description="Where the page lies, and whether more follow.")


async def connect(
    fetch: Callable[[int, str | None], Awaitable[list[Row]]],
    *,
    to_node: Callable[[Row], Node],
    id_of: Callable[[Row], str],
    first: int,
    after: str | None,
) -> Connection[Node]:
    """Return the page of `first` rows after a cursor; `fetch(limit, after_id)` reads them in order.

    Raises `BadInput` for a page larger than 100 or a cursor that is not ours.
    """
    if not 1 <= first <= LARGEST_PAGE:
        raise BadInput(f"`first` is a number from 1 to {LARGEST_PAGE}.")
    rows = await fetch(first + 1, None if after is None else _id_in(after))
    page, more_follow = rows[:first], len(rows) > first
    edges = [Edge(cursor=_cursor(id_of(row)), node=to_node(row)) for row in page]
    return Connection(
        edges=edges,
        nodes=[edge.node for edge in edges],
        page_info=PageInfo(
            has_next_page=more_follow,
            has_previous_page=after is not None,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
    )


def _cursor(row_id: str) -> str:
    return base64.urlsafe_b64encode(f"after:{row_id}".encode()).decode()


def _id_in(cursor: str) -> str:
    try:
        kind, _, row_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise BadInput("`after` is not a cursor of ours.") from error
    if kind != "after" or not is_id(row_id):
        raise BadInput("`after` is not a cursor of ours.")
    return row_id
