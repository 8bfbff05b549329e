"""The record of what was done, for those whom it concerns and for those who watch over all."""

from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Any, Self

import strawberry
from strawberry import relay

from auth.audit import OF_ADMINISTRATORS, Act, act_of
from auth.identity import Identity
from schema.connections import USUAL_PAGE, After, Connection, First, connect
from schema.context import Info
from schema.enums import described
from schema.guards import has_scope
from store.audit_events import AuditEventRow

_enum: Any = Enum  # the functional form, which type checkers follow for literal members only

# Made of `auth.audit.Act`, so that no act can be recorded that the schema does not know.
AuditAction: type[Enum] = strawberry.enum(
    _enum("AuditAction", {act.name: described(act.action, act.sentence) for act in Act}, module=__name__),
    description="What can have been done.",
)


@strawberry.type(description="Something that was done. No secret is in it, and nothing that somebody typed.")
class AuditEvent(relay.Node):
    """A row of the record."""

    id: relay.NodeID[str]
    at: datetime = strawberry.field(description="When.")
    action: AuditAction = strawberry.field(description="What.")  # type: ignore[valid-type]
    message: str = strawberry.field(description="What, in a sentence.")
    actor_id: str | None = strawberry.field(
        description="Who did it: the id of a person or a service account; null when it is not known, or the operator."
    )
    via_id: str | None = strawberry.field(
        description="What they came in by: the id of a session, of a token, or of a service account's credential."
    )
    subject_id: str | None = strawberry.field(description="Whom it concerns: the id of a person or a service account.")
    object_id: str | None = strawberry.field(
        description="What it was done to: the id of a session, a token, a service account, a credential or a key."
    )
    detail: str | None = strawberry.field(description="Which roles, scopes or reason.")
    request_id: str | None = strawberry.field(description="The id by which the log knows the request.")
    row: strawberry.Private[AuditEventRow]

    @strawberry.field(description="The network address it was done from; null where an administrator acted on you.")
    def address(self, info: Info) -> str | None:
        return self.row.address if self._tells_whence(info.context.viewer) else None

    @strawberry.field(description="What the client called itself; null as `address` is.")
    def user_agent(self, info: Info) -> str | None:
        return self.row.user_agent if self._tells_whence(info.context.viewer) else None

    def _tells_whence(self, viewer: Identity) -> bool:
        # Asked when the field is: of a stream, the viewer's rights may be others by then.
        is_others = act_of(self.row.action) in OF_ADMINISTRATORS and self.row.actor_id != viewer.subject
        return not is_others or "audit:read" in viewer.scopes

    @classmethod
    def of(cls, row: AuditEventRow) -> Self:
        """Present a row."""
        act = act_of(row.action)
        return cls(
            id=row.id,
            at=row.at,
            action=AuditAction[act.name],
            message=act.sentence,
            actor_id=row.actor_id,
            via_id=row.via_id,
            subject_id=row.subject_id,
            object_id=row.object_id,
            detail=row.detail,
            request_id=row.request_id,
            row=row,
        )

    @classmethod
    async def resolve_nodes(  # type: ignore[override]
        cls, *, info: Info, node_ids: Iterable[str], required: bool = False
    ) -> list[Self | None]:
        """Find events by id, those that the caller may see."""
        del required
        viewer = info.context.viewer
        found = [await info.context.auth.audit.find(viewer, event_id) for event_id in node_ids]
        return [None if row is None else cls.of(row) for row in found]


@strawberry.type
class AuditEventsQuery:
    """Watching over all."""

    @strawberry.field(permission_classes=[has_scope("audit:read")], description="What anybody did, the newest first.")
    async def audit_events(
        self,
        info: Info,
        first: First = USUAL_PAGE,
        after: After = None,
    ) -> Connection[AuditEvent] | None:
        viewer, audit = info.context.viewer, info.context.auth.audit
        return await connect(
            lambda limit, after_id: audit.page(viewer, limit=limit, after=after_id),
            to_node=AuditEvent.of,
            id_of=lambda row: row.id,
            first=first,
            after=after,
        )
