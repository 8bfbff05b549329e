"""Forgetting rows that count for nothing any more, by the way, in transactions that are about something else."""

from typing import Any

from sqlalchemy import ColumnElement, Delete, delete, select
from sqlalchemy.schema import Column


def delete_unheld(key: Column[Any], is_over: ColumnElement[bool], *, at_most: int, first: Column[Any]) -> Delete:
    """Return the statement that deletes some of the rows that are over, those that are `first` before others.

    It passes by what another transaction holds: of two that waited for each other's rows, PostgreSQL would break one
    off, and neither is here for these. SQLite has one that writes, and leaves that part out.
    """
    some = select(key).where(is_over).order_by(first).limit(at_most).with_for_update(skip_locked=True)
    return delete(key.table).where(key.in_(some))
