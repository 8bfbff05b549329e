"""Reading the members of a header or a payload that a stranger wrote: of the right type, or refused."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from auth.jws import JwsRefused

_LAST_SECOND = 2**53


def text(members: Mapping[str, Any], name: str) -> str:
    """Return a member that is a string. Raises `JwsRefused`."""
    value = members.get(name)
    if not isinstance(value, str):
        raise JwsRefused(f"{name} is not a string")
    return value


def optional_text(members: Mapping[str, Any], name: str) -> str | None:
    """Return a member that is a string, or None when it is not there. Raises `JwsRefused`."""
    return text(members, name) if name in members else None


def texts(members: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a member that is a list of strings. Raises `JwsRefused`."""
    value = members.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise JwsRefused(f"{name} is not a list of strings")
    return tuple(value)


def instant(members: Mapping[str, Any], name: str) -> datetime:
    """Return a NumericDate (RFC 7519 §2) that is a whole number of seconds. Raises `JwsRefused`."""
    value = members.get(name)
    # bool is an int in Python; a float NumericDate is allowed by RFC 7519 and written by none of ours.
    if type(value) is not int or not 0 < value < _LAST_SECOND:
        raise JwsRefused(f"{name} is not a whole number of seconds")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise JwsRefused(f"{name} is out of range") from error
