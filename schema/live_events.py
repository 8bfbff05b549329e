"""The record as it is written: `viewerEvents` for what concerns oneself, `auditEvents` for those who watch over all."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from enum import Enum
from typing import Annotated

import strawberry

from auth.audit import Act
from auth.listener import Listener
from schema.audit_events import AuditAction, AuditEvent
from schema.context import Info
from schema.errors import BadInput
from schema.guards import IsAuthenticated, has_scope
from store.audit_events import AuditEventRow

Actions = Annotated[
    list[AuditAction] | None,  # type: ignore[valid-type]
    strawberry.argument(description="Which acts; all of them, if nothing is said."),
]


@strawberry.type
class LiveEventsSubscription:
    """Following the record. A coroutine each, so that it is followed by the time that the subscription is answered."""

    @strawberry.subscription(
        permission_classes=[IsAuthenticated, has_scope("activity:read")],
        description="What happens with the caller's account, as it happens.",
    )
    async def viewer_events(self, info: Info, actions: Actions = None) -> AsyncIterator[AuditEvent]:
        return _events(await info.context.auth.activity.own(info.context.viewer, _acts(actions)))

    @strawberry.subscription(
        permission_classes=[has_scope("audit:read")], description="What anybody does, as it is done."
    )
    async def audit_events(self, info: Info, actions: Actions = None) -> AsyncIterator[AuditEvent]:
        return _events(await info.context.auth.activity.all(info.context.viewer, _acts(actions)))


async def _events(rows: Listener[AuditEventRow]) -> AsyncIterator[AuditEvent]:
    async with aclosing(rows):
        async for row in rows:
            yield AuditEvent.of(row)


def _acts(actions: list[Enum] | None) -> list[Act] | None:
    if actions is None:
        return None
    if not actions:
        raise BadInput("`actions` names at least one, or is left out.")
    return [Act[action.name] for action in actions]
