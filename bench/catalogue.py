"""What Watchword serves while it is measured: a domain with one object and one list, both guarded."""

import strawberry

from bench.items import Item, Person, all_items, person
from schema import Domain, Info, IsAuthenticated, has_scope

READ = "catalogue:read"


@strawberry.type
class Query:
    """The two guarded fields."""

    @strawberry.field(permission_classes=[IsAuthenticated], description="Whoever calls.")
    def me(self, info: Info) -> Person | None:
        """Return the caller."""
        return person(str(info.context.viewer.subject))

    @strawberry.field(permission_classes=[has_scope(READ)], description="Fifty items with their owners.")
    def items(self) -> list[Item] | None:
        """Return all items."""
        return all_items()


catalogue: Domain[None] = Domain(
    name="catalogue", query=Query, scopes={READ: "Read the catalogue"}, grants={"user": [READ]}
)
