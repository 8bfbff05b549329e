"""Permission classes: what stands at a field's door. Each prints its directive in the SDL.

They are synchronous and read only the identity, which the context has by then: an awaited check on a field of a
thousand items costs four times as much, and a check that returned a coroutine would be true.
"""

from datetime import datetime, timedelta
from functools import cache
from typing import Any, ClassVar

import strawberry
from strawberry.permission import BasePermission
from strawberry.schema_directive import Location

from auth.identity import Identity
from auth.refusals import Forbidden, Reason
from auth.scopes import ROLES, is_scope
from schema.context import Context

_ON_FIELDS = [Location.FIELD_DEFINITION]


@strawberry.schema_directive(locations=_ON_FIELDS, name="public", description="Anybody may, logged in or not.")
class PublicDirective:
    """`@public`."""


@strawberry.schema_directive(
    locations=_ON_FIELDS, name="isAuthenticated", description="Whoever presents a good credential may."
)
class IsAuthenticatedDirective:
    """`@isAuthenticated`."""


@strawberry.schema_directive(
    locations=_ON_FIELDS,
    name="isHuman",
    description="A person in a session may; a token that a script carries may not.",
)
class IsHumanDirective:
    """`@isHuman`."""


@strawberry.schema_directive(
    locations=_ON_FIELDS, name="isRecent", description="A person who logged in no more than `within` seconds ago may."
)
class IsRecentDirective:
    """`@isRecent(within: 3600)`."""

    within: int = strawberry.directive_field(name="within")


@strawberry.schema_directive(
    locations=_ON_FIELDS,
    name="hasScope",
    description="Whoever holds the scope may: through their roles, or by a token that was made for it.",
)
class HasScopeDirective:
    """`@hasScope(scope: "users:read")`."""

    scope: str = strawberry.directive_field(name="scope")


@strawberry.schema_directive(locations=_ON_FIELDS, name="hasRole", description="Whoever has the role may.")
class HasRoleDirective:
    """`@hasRole(role: "admin")`."""

    role: str = strawberry.directive_field(name="role")


DIRECTIVES = (
    PublicDirective,
    IsAuthenticatedDirective,
    IsHumanDirective,
    IsRecentDirective,
    HasScopeDirective,
    HasRoleDirective,
)


class Guard(BasePermission):
    """A permission class that refuses by raising, so that the refusal says why."""

    directive: ClassVar[object]
    required_scope: ClassVar[str | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Raise TypeError for a guard that says nothing in the SDL."""
        super().__init_subclass__(**options)
        if not hasattr(cls, "directive"):
            raise TypeError(f"the guard {cls.__module__}.{cls.__qualname__} has no directive to print in the SDL")

    def check(self, context: Context) -> None:
        """Return if the caller may pass. Raises `Unauthenticated`, `Forbidden`, or `StoreUnavailable`."""
        raise NotImplementedError

    def has_permission(self, source: Any, info: Any, **arguments: Any) -> bool:
        """Keep Strawberry's contract; the arguments of the field decide nothing here."""
        del source, arguments
        self.check(info.context)
        return True


class Public(Guard):
    """Anybody may, even with a credential that is bad: somebody with a stale cookie must be able to log in."""

    directive = PublicDirective()

    def check(self, context: Context) -> None:
        """Let everybody pass."""


class IsAuthenticated(Guard):
    """Whoever presents a good credential may."""

    directive = IsAuthenticatedDirective()

    def check(self, context: Context) -> None:
        """Keep the contract of `Guard.check`."""
        _ = context.viewer


class IsHuman(Guard):
    """A person in a session may; a token that a script carries may not."""

    directive = IsHumanDirective()

    def check(self, context: Context) -> None:
        """Keep the contract of `Guard.check`."""
        _require_human(context.viewer)


@cache
def IsRecent(within: timedelta) -> type[Guard]:  # noqa: N802 - it is used where classes are
    """Return the guard that wants a login no longer ago than `within`; the refusal says STEP_UP_REQUIRED."""

    class IsRecentLogin(Guard):
        directive = IsRecentDirective(within=int(within.total_seconds()))

        def check(self, context: Context) -> None:
            viewer = context.viewer
            _require_human(viewer)
            if not _is_within(viewer.authenticated_at, within, context.auth.clock.now()):
                raise Forbidden(Reason.STEP_UP_REQUIRED)

    return IsRecentLogin


@cache
def has_scope(scope: str) -> type[Guard]:
    """Return the guard that wants a scope, `resource:action`. Raises ValueError for what is not one."""
    if not is_scope(scope):
        raise ValueError(f"{scope!r} is not a scope of the form resource:action")

    class HasScope(Guard):
        directive = HasScopeDirective(scope=scope)
        required_scope = scope

        def check(self, context: Context) -> None:
            viewer = context.viewer
            if scope not in viewer.scopes:
                raise Forbidden(Reason.INSUFFICIENT_SCOPE, required=[scope], granted=viewer.scopes)

    return HasScope


@cache
def has_role(role: str) -> type[Guard]:
    """Return the guard that wants a role. Raises ValueError for one that is not known."""
    if role not in ROLES:
        raise ValueError(f"{role!r} is not a role; there are {', '.join(ROLES)}")

    class HasRole(Guard):
        directive = HasRoleDirective(role=role)

        def check(self, context: Context) -> None:
            viewer = context.viewer
            if role not in viewer.roles:
                raise Forbidden(Reason.INSUFFICIENT_ROLE, required=[role], granted=viewer.roles)

    return HasRole


def _require_human(viewer: Identity) -> None:
    if not viewer.is_human:
        raise Forbidden(Reason.HUMAN_REQUIRED)


def _is_within(instant: datetime | None, span: timedelta, now: datetime) -> bool:
    return instant is not None and now - instant <= span
