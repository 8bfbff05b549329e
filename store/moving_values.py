"""Values on their way from one engine to the other: what SQLite keeps as text or a number is more on PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as ServersUUID  # noqa: N811 - which takes a tenth of the time to make

Convert = Callable[[Any], Any]


class Unlike(Exception):
    """A value that the column it is on its way to does not take."""


# What a conversion raises for such a value. The value is in none of what is told of it: it may be a secret.
UNLIKE = (Unlike, ValueError, ArithmeticError, TypeError)


def _exactly(kind: type) -> Convert:
    def convert(value: Any) -> Any:
        # SQLite keeps whatever it is given, whatever the column is called.
        if type(value) is not kind:
            raise Unlike
        return value

    return convert


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:  # which PostgreSQL has no place for
        raise Unlike
    return value


def _boolean(value: Any) -> bool:
    if value not in (0, 1):
        raise Unlike
    return bool(value)


def _number(value: Any) -> Decimal:
    if not isinstance(value, (int, float, str, Decimal)):
        raise Unlike
    return Decimal(str(value))


def _instant(value: Any) -> datetime:
    instant: datetime = _read(datetime.fromisoformat, value)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _local(value: Any) -> datetime:
    instant: datetime = _read(datetime.fromisoformat, value)
    return instant.replace(tzinfo=None)


def _read(read: Callable[[str], Any], value: Any) -> Any:
    if isinstance(value, (datetime, date, time)):
        return value
    return read(_text(value))


# By PostgreSQL's own names of the types that values of SQLite's can become.
TO_POSTGRESQL: dict[str, Convert] = {
    "uuid": lambda value: ServersUUID(str(value)),
    "text": _text,
    "varchar": _text,
    "bpchar": _text,
    "json": _text,
    "jsonb": _text,
    "bytea": _exactly(bytes),
    "int2": _exactly(int),
    "int4": _exactly(int),
    "int8": _exactly(int),
    "float4": float,
    "float8": float,
    "numeric": _number,
    "bool": _boolean,
    "timestamptz": _instant,
    "timestamp": _local,
    "date": lambda value: _read(date.fromisoformat, value),
    "time": lambda value: _read(time.fromisoformat, value),
}


def to_sqlite(value: Any) -> Any:
    """Return what SQLAlchemy would keep on SQLite for a value of PostgreSQL's."""
    if isinstance(value, (str, bytes, int, float)):
        return int(value) if isinstance(value, bool) else value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, (date, time)):
        return value.isoformat()
    raise Unlike


def is_unlike(convert: Convert, value: Any) -> bool:
    """Say whether it is this value that is not taken."""
    try:
        if value is not None:
            convert(value)
    except UNLIKE:
        return True
    return False
