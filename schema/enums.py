"""Enum values with descriptions, in the type that they have at run time."""

from typing import cast

import strawberry

from auth.faults import Fault


def described(value: str, description: str) -> str:
    """Return an enum's value that the SDL describes; `member.value` is the plain string."""
    return cast("str", strawberry.enum_value(value, description=description))


def code_of(fault: Fault) -> str:
    """Return the value of a failure code, described by the fault's own sentence."""
    return described(fault.name, fault.value)
