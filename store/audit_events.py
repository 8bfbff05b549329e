"""Rows of what was done: written in the transaction that did it, never changed."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, bindparam, insert, select

from store.database import Reader, Row, Transaction
from store.instants import from_seconds, to_seconds
from store.statements import Statement
from store.tables import audit_events


@dataclass(frozen=True, slots=True)
class AuditEventRow:
    """One act: who did it and by what they came in, whom it concerns, what it was done to, and from where."""

    id: str
    at: datetime
    action: str
    actor_id: str | None
    via_id: str | None
    subject_id: str | None
    object_id: str | None
    detail: str | None
    address: str | None
    user_agent: str | None
    request_id: str | None


_COLUMNS = (
    audit_events.c.id,
    audit_events.c.at,
    audit_events.c.action,
    audit_events.c.actor_id,
    audit_events.c.via_id,
    audit_events.c.subject_id,
    audit_events.c.object_id,
    audit_events.c.detail,
    audit_events.c.address,
    audit_events.c.user_agent,
    audit_events.c.request_id,
)
_INSERT = Statement(insert(audit_events))
_BY_ID = Statement(select(*_COLUMNS).where(audit_events.c.id == bindparam("event_id")))


def _page(*, after: bool, of_subject: bool) -> Statement:
    query: Select[tuple[object, ...]] = select(*_COLUMNS).order_by(audit_events.c.id.desc()).limit(bindparam("limit"))
    if of_subject:
        query = query.where(audit_events.c.subject_id == bindparam("concerned"))
    if after:
        query = query.where(audit_events.c.id < bindparam("after"))
    return Statement(query)


_PAGES = {(after, own): _page(after=after, of_subject=own) for after in (False, True) for own in (False, True)}
_IDS_SINCE = Statement(
    select(audit_events.c.id)
    .where(audit_events.c.id > bindparam("after"))
    .order_by(audit_events.c.id)
    .limit(bindparam("limit"))
)
_BETWEEN = Statement(
    select(*_COLUMNS)
    .where(audit_events.c.id.between(bindparam("first"), bindparam("last")))
    .order_by(audit_events.c.id)
)


async def add(tx: Transaction, event: AuditEventRow) -> None:
    """Add an event, of which those who follow the record are told."""
    tx.announce()
    await tx.run(
        _INSERT,
        id=event.id,
        at=to_seconds(event.at),
        action=event.action,
        actor_id=event.actor_id,
        via_id=event.via_id,
        subject_id=event.subject_id,
        object_id=event.object_id,
        detail=event.detail,
        address=event.address,
        user_agent=event.user_agent,
        request_id=event.request_id,
    )


async def find(reader: Reader, event_id: str) -> AuditEventRow | None:
    """Return the event with this id."""
    row = await reader.one(_BY_ID, event_id=event_id)
    return None if row is None else _event(row)


async def page(reader: Reader, *, subject_id: str | None, limit: int, after: str | None) -> list[AuditEventRow]:
    """Return events, the newest first, older than the id `after`; those that concern one subject, or (None) all."""
    values: dict[str, object] = {"limit": limit}
    if subject_id is not None:
        values["concerned"] = subject_id
    if after is not None:
        values["after"] = after
    return [_event(row) for row in await reader.all(_PAGES[after is not None, subject_id is not None], **values)]


async def ids_since(reader: Reader, after: str, limit: int) -> list[str]:
    """Return the ids of events newer than the id `after`, the oldest first; the table itself is not read."""
    return [row[0] for row in await reader.all(_IDS_SINCE, after=after, limit=limit)]


async def between(reader: Reader, first: str, last: str) -> list[AuditEventRow]:
    """Return the events from the id `first` to the id `last`, the oldest first."""
    return [_event(row) for row in await reader.all(_BETWEEN, first=first, last=last)]


def _event(row: Row) -> AuditEventRow:
    return AuditEventRow(row[0], from_seconds(row[1]), *row[2:11])
