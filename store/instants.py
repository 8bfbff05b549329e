"""Instants at the store's door: aware datetimes outside, whole seconds since 1970 in a column."""

from datetime import UTC, datetime


def to_seconds(instant: datetime) -> int:
    """Return the second in which an aware instant lies."""
    return int(instant.timestamp())


def from_seconds(seconds: int) -> datetime:
    """Return the aware instant, in UTC, at which a stored second begins."""
    return datetime.fromtimestamp(seconds, UTC)


def from_optional_seconds(seconds: int | None) -> datetime | None:
    """Return the instant of a nullable column."""
    return None if seconds is None else from_seconds(seconds)


def to_optional_seconds(instant: datetime | None) -> int | None:
    """Return the second of an instant that there may not be."""
    return None if instant is None else to_seconds(instant)
