"""Ids of rows: UUIDv7 (RFC 9562), so that the order of ids is the order of creation."""

import re

import uuid_utils

_SHAPE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_id() -> str:
    """Return a new id in canonical text; within one process each is greater than the one before."""
    return str(uuid_utils.uuid7())


def is_id(text: str) -> bool:
    """Say whether a client's text has the shape of an id; PostgreSQL refuses to compare anything else."""
    return _SHAPE.fullmatch(text) is not None
