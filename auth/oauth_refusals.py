"""Why a request at an OAuth endpoint is refused: RFC 6749's closed list."""

from enum import Enum


class OAuthFault(Enum):
    """Why a request at an OAuth endpoint was refused: the names of RFC 6749 §5.2, each with its sentence."""

    INVALID_REQUEST = "A parameter is missing, repeated, or not of the form it has to have."
    INVALID_CLIENT = "The client is unknown, disabled, or did not prove who it is."
    INVALID_GRANT = "The assertion does not prove who it is from, has expired, or was used before."
    INVALID_SCOPE = "A scope was asked for that the client does not hold, or more than a token has room for."
    UNSUPPORTED_GRANT_TYPE = "The grant type is neither client_credentials nor the JWT-bearer grant."
    UNAUTHORIZED_CLIENT = "The client may not do this."


class OAuthRefused(Exception):
    """A request at an OAuth endpoint that was refused."""

    def __init__(self, fault: OAuthFault) -> None:
        super().__init__(fault.value)
        self.fault = fault
