"""Failures that a form shows: a mutation, or a few much alike, have a closed list of codes, from `auth.faults`."""

from auth.faults import Fault

CODE = "What is wrong, for a program."
MESSAGE = "What is wrong, for a person."
FIELD = "The field of the input that it is about, for a form."
SUGGESTIONS = "How a better password is made."

FIELD_OF = {
    Fault.EMAIL_INVALID: "email",
    Fault.EMAIL_TAKEN: "email",
    Fault.DISPLAY_NAME_INVALID: "displayName",
    Fault.PASSWORD_TOO_SHORT: "password",
    Fault.PASSWORD_TOO_LONG: "password",
    Fault.PASSWORD_TOO_GUESSABLE: "password",
    Fault.CURRENT_PASSWORD_WRONG: "currentPassword",
    Fault.SETUP_TOKEN_INVALID: "setupToken",
    Fault.TOKEN_NAME_INVALID: "name",
    Fault.SERVICE_NAME_INVALID: "name",
    Fault.SCOPES_MISSING: "scopes",
    Fault.SCOPES_NOT_HELD: "scopes",
    Fault.EXPIRY_INVALID: "expiresAt",
    Fault.PUBLIC_KEY_INVALID: "publicKey",
    Fault.PUBLIC_KEY_IS_PRIVATE: "publicKey",
    Fault.PUBLIC_KEY_KNOWN: "publicKey",
}
