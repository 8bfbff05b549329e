"""Ids of rows: UUIDv7 (RFC 9562), so that the order of ids is the order of creation."""

import re
from datetime import datetime, timedelta

import uuid_utils

_SHAPE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_id() -> str:
    """Return a new id in canonical text; within one process each is greater than the one before."""
    return str(uuid_utils.uuid7())


def earlier(than: str, by: timedelta) -> str:
    """Return an id before all those that were made later than so long before this one was."""
    milliseconds = int(than.replace("-", "")[:12], 16) - by // timedelta(milliseconds=1)
    digits = f"{max(milliseconds, 0):012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"


def id_at(instant: datetime) -> str:
    """Return an id before all those that are made from an instant on."""
    digits = f"{max(int(instant.timestamp() * 1000), 0):012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"


def is_id(text: str) -> bool:
    """Say whether a client's text has the shape of an id; PostgreSQL refuses to compare anything else."""
    return _SHAPE.fullmatch(text) is not None
