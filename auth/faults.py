"""What can be wrong with what a person typed: a closed list, each with the sentence they read."""

from collections.abc import Iterable
from enum import Enum


class Fault(Enum):
    """A fault of an input; the schema's failure codes bear these names."""

    EMAIL_INVALID = "This is not an e-mail address."
    EMAIL_TAKEN = "This e-mail address has an account already."
    DISPLAY_NAME_INVALID = "A name has 1 to 80 characters, all of them visible."
    DEVICE_NAME_INVALID = "A device's name has 1 to 80 characters, all of them visible."
    PASSWORD_TOO_SHORT = "A password has at least 12 characters."  # noqa: S105
    PASSWORD_TOO_LONG = "A password has at most 128 characters."  # noqa: S105
    PASSWORD_TOO_GUESSABLE = "This password is common, or easily guessed."  # noqa: S105
    CURRENT_PASSWORD_WRONG = "The current password is wrong."  # noqa: S105
    TOKEN_NAME_INVALID = "A token's name has 1 to 80 characters, all of them visible."  # noqa: S105
    SERVICE_NAME_INVALID = "A service account's name has 1 to 80 characters, all of them visible."
    SCOPES_MISSING = "At least one scope is chosen."
    SCOPES_NOT_HELD = "Only scopes that you hold yourself can be given."
    EXPIRY_INVALID = "An expiry is an instant to come, with a time zone, at most a year ahead."
    PUBLIC_KEY_INVALID = "A public key is of Ed25519, P-256, or RSA with 2048 to 4096 bits, in PEM or as a JWK."
    PUBLIC_KEY_IS_PRIVATE = "This is a private key, for nobody else to see: make another, and send its public half."
    PUBLIC_KEY_KNOWN = "This service account has, or had, this key already."
    TOO_MANY = "There are too many of them already; revoke one that is not used any more."
    SETUP_TOKEN_INVALID = "The setup token is not valid, was used, or has expired."  # noqa: S105


class InputRefused(Exception):
    """An input with a fault, and advice for a better one; nothing was changed."""

    def __init__(self, fault: Fault, suggestions: Iterable[str] = ()) -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.suggestions = tuple(suggestions)
