"""`node`: anything with an id, found again by it, if the caller may see it."""

from inspect import isawaitable
from typing import Any

import strawberry
from strawberry import relay
from strawberry.relay.types import GlobalIDValueError

from schema.context import Info
from schema.errors import BadInput
from schema.guards import IsAuthenticated


@strawberry.type
class NodeQuery:
    """The root field that Relay's clients refetch by."""

    @strawberry.field(
        permission_classes=[IsAuthenticated],
        description="Anything that has an id; null when there is no such thing, or it is not yours to see.",
    )
    async def node(self, info: Info, id: relay.GlobalID) -> relay.Node | None:  # noqa: A002
        try:
            kind = id.resolve_type(info)
        except GlobalIDValueError:
            return None
        if kind is relay.Node:
            return None
        nodes: Any = kind.resolve_nodes(info=info, node_ids=[id.node_id])
        found: list[relay.Node | None] = list(await nodes if isawaitable(nodes) else nodes)
        return found[0]


def id_within(global_id: relay.GlobalID, type_name: str) -> str:
    """Return the row's id in a node id of the type that an argument wants. Raises `BadInput` for another type's."""
    if global_id.type_name != type_name:
        raise BadInput(f"`id` is not the id of a node of the type {type_name}.")
    return global_id.node_id
