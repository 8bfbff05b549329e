"""Sessions: where somebody is logged in, and ending that."""

from collections.abc import Iterable
from datetime import datetime
from typing import Self

import strawberry
from strawberry import relay

from auth.identity import Identity
from schema.context import Info
from schema.guards import IsHuman
from schema.node import id_within
from store.sessions import SessionRow


@strawberry.type(description="A login on some device, until it is ended or expires.")
class Session(relay.Node):
    """A session, seen by its owner."""

    id: relay.NodeID[str]
    device_name: str | None = strawberry.field(description="What the device was called at login.")
    user_agent: str | None = strawberry.field(description="What the client called itself at login.")
    address: str | None = strawberry.field(description="The network address it was last seen from.")
    created_at: datetime = strawberry.field(description="When it began.")
    authenticated_at: datetime = strawberry.field(description="When its owner last proved who they are.")
    last_seen_at: datetime = strawberry.field(description="When it was last used, to a few minutes.")
    expires_at: datetime = strawberry.field(description="When it ends by itself at the latest.")
    is_current: bool = strawberry.field(description="Whether it is the one you call with.")

    @classmethod
    def of(cls, row: SessionRow, viewer: Identity) -> Self:
        """Present a row."""
        return cls(
            id=row.id,
            device_name=row.device_name,
            user_agent=row.user_agent,
            address=row.address,
            created_at=row.created_at,
            authenticated_at=row.authenticated_at,
            last_seen_at=row.last_seen_at,
            expires_at=row.expires_at,
            is_current=row.id == viewer.session_id,
        )

    @classmethod
    async def resolve_nodes(  # type: ignore[override]
        cls, *, info: Info, node_ids: Iterable[str], required: bool = False
    ) -> list[Self | None]:
        """Find sessions by id: the caller's own, if they hold `sessions:read`."""
        del required
        viewer, sessions = info.context.viewer, info.context.auth.sessions
        if "sessions:read" not in viewer.scopes:
            return [None for _ in node_ids]
        found = [await sessions.find(viewer, session_id) for session_id in node_ids]
        return [None if row is None else cls.of(row, viewer) for row in found]


@strawberry.input(description="Which session to end.")
class RevokeSessionInput:
    """The argument of `revokeSession`."""

    id: relay.GlobalID = strawberry.field(description="The session, one of your own.")


@strawberry.type(description="The session has ended.")
class RevokeSessionResult:
    """The answer of `revokeSession`."""

    session: Session = strawberry.field(description="The session that was ended.")


@strawberry.type(description="Your other sessions have ended.")
class RevokeOtherSessionsResult:
    """The answer of `revokeOtherSessions`."""

    ended_sessions: int = strawberry.field(description="How many there were.")


@strawberry.type
class SessionsMutation:
    """Ending sessions. Each counts from the next request on, whatever token the device still holds."""

    @strawberry.mutation(permission_classes=[IsHuman], description="End one of your sessions, at once.")
    async def revoke_session(self, info: Info, input: RevokeSessionInput) -> RevokeSessionResult | None:  # noqa: A002
        viewer = info.context.viewer
        row = await info.context.auth.sessions.revoke(viewer, id_within(input.id, "Session"))
        return RevokeSessionResult(session=Session.of(row, viewer))

    @strawberry.mutation(
        permission_classes=[IsHuman], description="End all your sessions but the one you call with, at once."
    )
    async def revoke_other_sessions(self, info: Info) -> RevokeOtherSessionsResult | None:
        ended = await info.context.auth.sessions.revoke_others(info.context.viewer)
        return RevokeOtherSessionsResult(ended_sessions=ended)
