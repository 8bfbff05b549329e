"""The record of what was done, as it is done, for those who may read it (`auth.audit`); whichever process does it."""

from collections.abc import Collection
from functools import partial

import store.audit_events
from auth.audit import Act, require_everything, require_own
from auth.following import Following
from auth.identity import Identity
from auth.listener import Listener
from store import Database
from store.audit_events import AuditEventRow

_ANYBODY = "anybody"  # beside the ids of subjects: whoever watches over all


class Activity:
    """Follows the record. What is recorded once a stream has been given comes in it, within half a second."""

    def __init__(self, database: Database) -> None:
        self._following = Following(
            database,
            partial(store.audit_events.ids_since, database),
            partial(store.audit_events.between, database),
            _concerned,
        )

    @property
    def listeners(self) -> int:
        """How many follow at this moment."""
        return self._following.listeners

    async def own(self, identity: Identity, acts: Collection[Act] | None = None) -> Listener[AuditEventRow]:
        """Follow what concerns the caller, or of it only these acts.

        Raises `Unauthenticated` and `Forbidden` for whoever may not, `StoreUnavailable`, and later `FellBehind`.
        """
        return await self._follow(require_own(identity), acts)

    async def all(self, identity: Identity, acts: Collection[Act] | None = None) -> Listener[AuditEventRow]:
        """Follow what anybody does, for a caller with `audit:read`. Raises as `own` does."""
        require_everything(identity)
        return await self._follow(_ANYBODY, acts)

    async def close(self) -> None:
        """End every stream."""
        await self._following.close()

    async def _follow(self, concerned: str, acts: Collection[Act] | None) -> Listener[AuditEventRow]:
        if acts is None:
            return await self._following.listen(concerned, _as_it_is)
        actions = frozenset(act.action for act in acts)
        return await self._following.listen(concerned, _as_it_is, lambda row: row.action in actions)


def _concerned(row: AuditEventRow) -> tuple[str, ...]:
    return (_ANYBODY,) if row.subject_id is None else (row.subject_id, _ANYBODY)


def _as_it_is(row: AuditEventRow) -> AuditEventRow:
    return row
