"""What people type to name things: addresses, their own names, their devices."""

import unicodedata
from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email

from auth.faults import Fault, InputRefused

_LONGEST_NAME = 80

# No name and no address needs more. Longer text is not looked at: to put n combining marks in order takes n² steps.
_LONGEST_TEXT = 320

# Cc control, Cf format (invisible, and able to turn the reading direction around), Cs surrogates, Co private, Cn none,
# Zl and Zp line ends. They let one name pass for another, or break the line that it is written on.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

# Letters and marks to Unicode, and yet nothing to see: fillers of Hangul, the blank of Braille, the grapheme joiner.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


@dataclass(frozen=True, slots=True)
class Email:
    """An address as it is written to, and the key by which two spellings of it are the same."""

    address: str
    key: str


def read_email(text: str) -> Email:
    """Return an address in its normal form. Raises `InputRefused` with EMAIL_INVALID; asks no name server."""
    if len(text) > _LONGEST_TEXT:
        raise InputRefused(Fault.EMAIL_INVALID)
    try:
        read = validate_email(text.strip(), check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise InputRefused(Fault.EMAIL_INVALID) from error
    return Email(read.normalized, read.normalized.casefold())


def read_display_name(text: str) -> str:
    """Return a person's name, trimmed. Raises `InputRefused` with DISPLAY_NAME_INVALID."""
    return _read_name(text, Fault.DISPLAY_NAME_INVALID)


def read_device_name(text: str) -> str:
    """Return a device's name, trimmed. Raises `InputRefused` with DEVICE_NAME_INVALID."""
    return _read_name(text, Fault.DEVICE_NAME_INVALID)


def read_token_name(text: str) -> str:
    """Return an API token's name, trimmed. Raises `InputRefused` with TOKEN_NAME_INVALID."""
    return _read_name(text, Fault.TOKEN_NAME_INVALID)


def read_service_name(text: str) -> str:
    """Return a service account's name, trimmed. Raises `InputRefused` with SERVICE_NAME_INVALID."""
    return _read_name(text, Fault.SERVICE_NAME_INVALID)


def _read_name(text: str, fault: Fault) -> str:
    if len(text) > _LONGEST_TEXT:
        raise InputRefused(fault)
    name = unicodedata.normalize("NFC", text.strip())
    if not 0 < len(name) <= _LONGEST_NAME or any(_does_not_show(letter) for letter in name):
        raise InputRefused(fault)
    return name


def _does_not_show(letter: str) -> bool:
    return letter in _BLANK or unicodedata.category(letter) in _INVISIBLE
