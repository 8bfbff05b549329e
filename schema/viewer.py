"""`viewer`: whoever calls, and everything that is theirs."""

from collections.abc import Iterable
from enum import Enum
from typing import Self

import strawberry
from strawberry import relay

from auth.identity import Identity, IdentityKind
from schema.api_tokens import ApiToken
from schema.audit_events import AuditEvent
from schema.connections import USUAL_PAGE, After, Connection, First, connect
from schema.context import Info
from schema.enums import described
from schema.guards import IsAuthenticated, IsHuman, has_scope
from schema.service_accounts import ServiceAccount
from schema.sessions import Session
from schema.users import User


@strawberry.enum(description="What sort of caller it is.")
class ViewerKind(Enum):
    """The kinds of identity that a viewer can be."""

    USER = described(IdentityKind.USER.value, "A person.")
    SERVICE = described(IdentityKind.SERVICE.value, "A program with an account of its own.")


@strawberry.type(description="Something that can be allowed.")
class Scope:
    """A scope with its sentence."""

    name: str = strawberry.field(description="`resource:action`, as tokens name it.")
    description: str = strawberry.field(description="What it allows, for a person who chooses.")


@strawberry.type(description="Whoever calls. Everything that is theirs hangs here.")
class Viewer(relay.Node):
    """The caller, surely somebody."""

    identity: strawberry.Private[Identity]
    id: relay.NodeID[str]
    kind: ViewerKind = strawberry.field(description="What sort of caller it is.")
    scopes: list[str] = strawberry.field(description="What the caller may do at this moment.")

    @strawberry.field(permission_classes=[has_scope("profile:read")], description="The person, when the caller is one.")
    async def user(self, info: Info) -> User | None:
        row = await info.context.auth.users.find(self.identity, self.id)
        return None if row is None else User.of(row)

    @strawberry.field(
        permission_classes=[has_scope("sessions:read")], description="The session that the caller calls with, if any."
    )
    async def session(self, info: Info) -> Session | None:
        if self.identity.session_id is None:
            return None
        row = await info.context.auth.sessions.find(self.identity, self.identity.session_id)
        return None if row is None else Session.of(row, self.identity)

    @strawberry.field(
        permission_classes=[has_scope("sessions:read")],
        description="Where the caller is logged in, the newest login first.",
    )
    async def sessions(
        self,
        info: Info,
        first: First = USUAL_PAGE,
        after: After = None,
    ) -> Connection[Session] | None:
        sessions = info.context.auth.sessions
        return await connect(
            lambda limit, after_id: sessions.page(self.identity, limit=limit, after=after_id),
            to_node=lambda row: Session.of(row, self.identity),
            id_of=lambda row: row.id,
            first=first,
            after=after,
        )

    @strawberry.field(
        permission_classes=[IsHuman],
        description="What the caller can give to a token or to a service account, each with what it allows.",
    )
    def grantable_scopes(self, info: Info) -> list[Scope] | None:
        sentences = info.context.auth.rights.sentences
        return [Scope(name=name, description=sentences[name]) for name in sorted(self.identity.scopes)]

    @strawberry.field(
        permission_classes=[has_scope("tokens:read")],
        description="The caller's API tokens that are good, the newest first.",
    )
    async def api_tokens(
        self,
        info: Info,
        first: First = USUAL_PAGE,
        after: After = None,
    ) -> Connection[ApiToken] | None:
        api_tokens = info.context.auth.api_tokens
        return await connect(
            lambda limit, after_id: api_tokens.page(self.identity, limit=limit, after=after_id),
            to_node=ApiToken.of,
            id_of=lambda row: row.id,
            first=first,
            after=after,
        )

    @strawberry.field(
        permission_classes=[has_scope("services:read")],
        description="The caller's service accounts, the disabled ones too, the newest first.",
    )
    async def service_accounts(
        self,
        info: Info,
        first: First = USUAL_PAGE,
        after: After = None,
    ) -> Connection[ServiceAccount] | None:
        accounts = info.context.auth.service_accounts
        return await connect(
            lambda limit, after_id: accounts.page(self.identity, limit=limit, after=after_id),
            to_node=ServiceAccount.of,
            id_of=lambda row: row.id,
            first=first,
            after=after,
        )

    @strawberry.field(
        permission_classes=[has_scope("activity:read")],
        description="What happened with the caller's account, the newest first.",
    )
    async def audit_events(
        self,
        info: Info,
        first: First = USUAL_PAGE,
        after: After = None,
    ) -> Connection[AuditEvent] | None:
        audit = info.context.auth.audit
        return await connect(
            lambda limit, after_id: audit.own(self.identity, limit=limit, after=after_id),
            to_node=AuditEvent.of,
            id_of=lambda row: row.id,
            first=first,
            after=after,
        )

    @classmethod
    def of(cls, identity: Identity) -> Self:
        """Present an identity."""
        return cls(
            identity=identity,
            id=identity.subject or "",
            kind=ViewerKind(identity.kind.value),
            scopes=sorted(identity.scopes),
        )

    @classmethod
    async def resolve_nodes(  # type: ignore[override]
        cls, *, info: Info, node_ids: Iterable[str], required: bool = False
    ) -> list[Self | None]:
        """Find the caller by their own id, and nobody else."""
        del required
        viewer = info.context.viewer
        return [cls.of(viewer) if node_id == viewer.subject else None for node_id in node_ids]


@strawberry.type
class ViewerQuery:
    """The root of everything that is the caller's own."""

    @strawberry.field(permission_classes=[IsAuthenticated], description="Whoever calls.")
    def viewer(self, info: Info) -> Viewer | None:
        return Viewer.of(info.context.viewer)
