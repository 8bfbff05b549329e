"""The closed list of reasons for which an act is refused, and the exceptions that carry them.

A refusal says what the caller may know and nothing of the rest. `schema.errors` turns each kind into its code.
"""

import math
from collections.abc import Iterable
from datetime import timedelta
from enum import Enum
from typing import ClassVar


class Reason(Enum):
    """Why an act was refused; the value is the sentence that a person reads."""

    NOT_AUTHENTICATED = "No credential was presented."
    TOKEN_EXPIRED = "The token has expired."  # noqa: S105
    TOKEN_INVALID = "The token is not one of ours, was changed, or cannot be used here."  # noqa: S105
    TOKEN_REVOKED = "The token was revoked, or the key that signed it."  # noqa: S105
    REFRESH_TOKEN_INVALID = "The refresh token is not one of ours, or was changed."  # noqa: S105
    REFRESH_TOKEN_REUSED = "The refresh token was used before; the session was ended, because two hold it."  # noqa: S105
    CREDENTIAL_MALFORMED = "The Authorization header is not of the form: Bearer <token>."
    COOKIE_REPEATED = "Two cookies of the same name were sent."
    SESSION_REVOKED = "The session was ended."
    SESSION_EXPIRED = "The session has expired."
    SESSION_UNKNOWN = "There is no such session."
    ACCOUNT_DISABLED = "The account is disabled."

    INSUFFICIENT_SCOPE = "A scope is missing."
    INSUFFICIENT_ROLE = "A role is missing."
    HUMAN_REQUIRED = "This needs a person's session."
    STEP_UP_REQUIRED = "This needs a recent login: log in again."
    INTROSPECTION_OFF = "The schema is not shown here."
    COOKIES_NEED_POST = "Cookies can be set and taken away on the answer to a plain POST alone."
    STREAM_NOT_READ = "The stream was not read as fast as it grew: subscribe again, and load what was missed."
    LAST_ADMINISTRATOR = "The last enabled administrator can be neither disabled nor deprived of the role."


class Refusal(Exception):
    """An act that was refused. What a caller may branch on is in attributes, never only in the text."""

    def __init__(
        self,
        reason: Reason,
        *,
        required: Iterable[str] = (),
        granted: Iterable[str] = (),
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.required = tuple(sorted(required))
        self.granted = tuple(sorted(granted))


class Unauthenticated(Refusal):
    """It is not known who calls: get a new token and try again."""


class SigningKeyRevoked(Unauthenticated):
    """The key that signed the token is good no longer, and so is none of its tokens."""

    def __init__(self, kid: str) -> None:
        super().__init__(Reason.TOKEN_REVOKED)
        self.kid = kid


class Forbidden(Refusal):
    """It is known who calls, and they may not: trying again will not help."""


class FellBehind(Refusal):
    """Who follows something did not take what there was; what came since is not kept for them."""

    def __init__(self) -> None:
        super().__init__(Reason.STREAM_NOT_READ)


class NotFound(Exception):
    """What was named does not exist, or is not the caller's to see; which of the two is not told."""


class Conflict(Exception):
    """The state of things does not allow it; the text says which."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Overloaded(Exception):
    """More work is waiting than can be done in good time; nothing was done."""

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__("Too much is waiting; try again shortly.")
        self.retry_after = retry_after


class RateLimited(Exception):
    """It was tried too often in too short a time; nothing was looked at, and nothing was done."""

    sentence: ClassVar = "There were too many attempts; try again later."

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__(self.sentence)
        self.retry_after = retry_after

    @property
    def seconds(self) -> int:
        """After how many whole seconds to try again: one at least."""
        return max(1, math.ceil(self.retry_after.total_seconds()))


class BudgetUsedUp(RateLimited):
    """More was asked for than there is left to spend; nothing was taken, and nothing was done."""

    sentence = "More was asked for than this minute's budget has left; try again after `retryAfter` seconds."
