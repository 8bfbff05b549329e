"""Rows of what domains publish: written in the transaction that did it, read by every process, kept for minutes."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, insert, select

from store.database import Reader, Transaction
from store.forgetting import delete_unheld
from store.instants import from_seconds, to_seconds
from store.statements import Statement
from store.tables import publications


@dataclass(frozen=True, slots=True)
class PublicationRow:
    """Something that was told to those who follow a topic; the payload is JSON."""

    id: str
    topic: str
    payload: str
    at: datetime


_DELETED_AT_MOST = 100  # each adds one, so they do not pile up

_INSERT = Statement(insert(publications))
_DELETE_OLD = Statement(
    delete_unheld(
        publications.c.id, publications.c.at < bindparam("before"), at_most=_DELETED_AT_MOST, first=publications.c.at
    )
)
_IDS_SINCE = Statement(
    select(publications.c.id)
    .where(publications.c.id > bindparam("after"))
    .order_by(publications.c.id)
    .limit(bindparam("limit"))
)
_BETWEEN = Statement(
    select(publications.c.id, publications.c.topic, publications.c.payload, publications.c.at)
    .where(publications.c.id.between(bindparam("first"), bindparam("last")))
    .order_by(publications.c.id)
)


async def add(tx: Transaction, publication: PublicationRow) -> None:
    """Add a publication, of which those who follow its topic are told."""
    tx.announce()
    await tx.run(
        _INSERT,
        id=publication.id,
        topic=publication.topic,
        payload=publication.payload,
        at=to_seconds(publication.at),
    )


async def ids_since(reader: Reader, after: str, limit: int) -> list[str]:
    """Return the ids of publications newer than the id `after`, the oldest first; the table itself is not read."""
    return [row[0] for row in await reader.all(_IDS_SINCE, after=after, limit=limit)]


async def between(reader: Reader, first: str, last: str) -> list[PublicationRow]:
    """Return the publications from the id `first` to the id `last`, the oldest first."""
    rows = await reader.all(_BETWEEN, first=first, last=last)
    return [PublicationRow(row[0], row[1], row[2], from_seconds(row[3])) for row in rows]


async def delete_older(tx: Transaction, before: datetime) -> int:
    """Delete publications of before an instant, some at a time; return how many."""
    return await tx.run(_DELETE_OLD, before=to_seconds(before))
