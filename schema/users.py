"""People: who they are, and what an administrator does with their accounts."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated, Self

import strawberry
from strawberry import relay

from auth import scopes
from schema.connections import USUAL_PAGE, After, Connection, First, connect
from schema.context import Info
from schema.enums import described
from schema.guards import Guard, IsHuman, IsRecent, has_scope
from schema.node import id_within
from store.users import UserRow

_RECENT = timedelta(hours=1)


@strawberry.enum(description="A role grants scopes.")
class Role(Enum):
    """The roles, as GraphQL names them."""

    USER = described(scopes.USER, scopes.ROLES[scopes.USER])
    ADMIN = described(scopes.ADMIN, scopes.ROLES[scopes.ADMIN])


@strawberry.type(description="A person with an account.")
class User(relay.Node):
    """A person, seen by themselves or by somebody with `users:read`."""

    id: relay.NodeID[str]
    email: str = strawberry.field(description="The address they log in with.")
    display_name: str = strawberry.field(description="What they want to be called.")
    roles: list[Role] = strawberry.field(description="Their roles; each grants scopes.")
    created_at: datetime = strawberry.field(description="When they signed up.")
    disabled_at: datetime | None = strawberry.field(description="Since when they are shut out; null when they are not.")

    @classmethod
    def of(cls, row: UserRow) -> Self:
        """Present a row."""
        return cls(
            id=row.id,
            email=row.email,
            display_name=row.display_name,
            roles=[role for role in Role if role.value in row.roles],
            created_at=row.created_at,
            disabled_at=row.disabled_at,
        )

    @classmethod
    async def resolve_nodes(  # type: ignore[override]
        cls, *, info: Info, node_ids: Iterable[str], required: bool = False
    ) -> list[Self | None]:
        """Find people by id, those whom the caller may see."""
        del required
        found = [await info.context.auth.users.find(info.context.viewer, user_id) for user_id in node_ids]
        return [None if row is None else cls.of(row) for row in found]


@strawberry.type
class UsersQuery:
    """Looking people up."""

    @strawberry.field(permission_classes=[has_scope("users:read")], description="Every account, the newest first.")
    async def users(
        self,
        info: Info,
        first: First = USUAL_PAGE,
        after: After = None,
        search: Annotated[
            str | None, strawberry.argument(description="How the address or the name begins, in any case.")
        ] = None,
    ) -> Connection[User] | None:
        viewer, users = info.context.viewer, info.context.auth.users
        return await connect(
            lambda limit, after_id: users.page(viewer, limit=limit, after=after_id, search=search),
            to_node=User.of,
            id_of=lambda row: row.id,
            first=first,
            after=after,
        )


@strawberry.input(description="Whose roles, and which.")
class SetUserRolesInput:
    """The argument of `setUserRoles`."""

    id: relay.GlobalID = strawberry.field(description="The person.")
    roles: list[Role] = strawberry.field(description="Their roles from now on; others are taken from them.")


@strawberry.input(description="Whom to shut out.")
class DisableUserInput:
    """The argument of `disableUser`."""

    id: relay.GlobalID = strawberry.field(description="The person.")


@strawberry.input(description="Whom to let in again.")
class EnableUserInput:
    """The argument of `enableUser`."""

    id: relay.GlobalID = strawberry.field(description="The person.")


@strawberry.type(description="The roles were set.")
class SetUserRolesResult:
    """The answer of `setUserRoles`."""

    user: User = strawberry.field(description="The person, with the roles they have now.")


@strawberry.type(description="The person is shut out.")
class DisableUserResult:
    """The answer of `disableUser`."""

    user: User = strawberry.field(description="The person, disabled.")


@strawberry.type(description="The person may log in again.")
class EnableUserResult:
    """The answer of `enableUser`."""

    user: User = strawberry.field(description="The person, enabled.")


_ADMINISTERS: list[type[Guard]] = [IsHuman, has_scope("users:write"), IsRecent(_RECENT)]


@strawberry.type
class UsersMutation:
    """Administering people. Each counts from the person's next request on."""

    @strawberry.mutation(
        permission_classes=[*_ADMINISTERS],
        description="Give a person these roles and no others. CONFLICT if nobody would be left to administer.",
    )
    async def set_user_roles(self, info: Info, input: SetUserRolesInput) -> SetUserRolesResult | None:  # noqa: A002
        roles = frozenset(role.value for role in input.roles)
        user_id = id_within(input.id, "User")
        row = await info.context.auth.users.set_roles(info.context.viewer, user_id, roles)
        return SetUserRolesResult(user=User.of(row))

    @strawberry.mutation(
        permission_classes=[*_ADMINISTERS],
        description="Shut a person out and end their sessions. CONFLICT if nobody would be left to administer.",
    )
    async def disable_user(self, info: Info, input: DisableUserInput) -> DisableUserResult | None:  # noqa: A002
        row = await info.context.auth.users.disable(info.context.viewer, id_within(input.id, "User"))
        return DisableUserResult(user=User.of(row))

    @strawberry.mutation(permission_classes=[*_ADMINISTERS], description="Let a disabled person log in again.")
    async def enable_user(self, info: Info, input: EnableUserInput) -> EnableUserResult | None:  # noqa: A002
        row = await info.context.auth.users.enable(info.context.viewer, id_within(input.id, "User"))
        return EnableUserResult(user=User.of(row))
