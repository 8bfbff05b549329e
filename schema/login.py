"""`login` and `logout`: a session begins, and the browser gets its cookies or a native client its token; it ends."""

from datetime import datetime
from enum import Enum
from typing import Annotated

import strawberry

from auth.faults import InputRefused
from auth.labels import read_device_name
from auth.refusals import RateLimited
from schema.context import Info
from schema.documents import CREDENTIAL
from schema.enums import described
from schema.errors import BadInput
from schema.failures import CODE, MESSAGE
from schema.guards import Public
from schema.viewer import Viewer


@strawberry.enum(description="How the token travels.")
class TokenDelivery(Enum):
    """The two ways to be given a token."""

    COOKIE = described("cookie", "In HttpOnly cookies, for browsers; scripts never see it.")
    BODY = described("body", "In the answer, for native clients and scripts; no cookie is set.")


@strawberry.input(description="Who logs in, and how.")
class LoginInput:
    """The argument of `login`."""

    email: str = strawberry.field(description="The address of the account.")
    password: str = strawberry.field(description="Its password.")
    delivery: TokenDelivery = strawberry.field(default=TokenDelivery.COOKIE, description="How the token travels.")
    device_name: str | None = strawberry.field(
        default=None, description="What to call this device in the list of sessions: 1 to 80 characters."
    )


@strawberry.enum(description="Why a login failed.")
class LoginFailureCode(Enum):
    """What is told of a failed login."""

    INVALID_CREDENTIALS = described(
        "invalid_credentials",
        "The address is unknown, the password is wrong, or the account is disabled; which is not told.",
    )
    RATE_LIMITED = described(
        "rate_limited", "There were too many attempts. The password was not looked at: try again after `retryAfter`."
    )


@strawberry.type(description="A session has begun.")
class LoginSucceeded:
    """The good answer of `login`."""

    viewer: Viewer = strawberry.field(description="Whoever logged in.")
    access_token: str | None = strawberry.field(
        description="The token, for `Authorization: Bearer`, when it was to come in the body."
    )
    refresh_token: str | None = strawberry.field(
        description="What `refresh` takes for the next access token, when the token was to come in the body. Keep it "
        "as you would a password."
    )
    expires_at: datetime = strawberry.field(description="When the access token expires.")


@strawberry.type(description="Nobody was logged in.")
class LoginFailed:
    """The other answer of `login`."""

    code: LoginFailureCode = strawberry.field(description=CODE)
    message: str = strawberry.field(description=MESSAGE)
    retry_after: int | None = strawberry.field(description="After how many seconds to try again, if it was too often.")


LoginResult = Annotated[
    LoginSucceeded | LoginFailed, strawberry.union("LoginResult", description="What came of a login.")
]


@strawberry.type(description="You are logged out.")
class LogoutResult:
    """The answer of `logout`."""

    session_ended: bool = strawberry.field(description="Whether there was a session to end.")


@strawberry.type
class LoginMutation:
    """Logging in and out."""

    @strawberry.mutation(
        permission_classes=[Public], metadata=CREDENTIAL, description="Begin a session: a password for a token."
    )
    async def login(self, info: Info, input: LoginInput) -> LoginResult:  # noqa: A002
        context = info.context
        by_cookie = input.delivery is TokenDelivery.COOKIE
        if by_cookie:
            context.cookies.require()
        try:
            started = await context.auth.login.log_in(
                input.email,
                input.password,
                context.origin,
                device_name=_device_name(input),
                # A browser has one session: whose cookies are about to be replaced, theirs ends.
                outgoing=context.outgoing if by_cookie else None,
            )
        except RateLimited as refused:
            context.note_wait(refused.seconds)
            return LoginFailed(code=LoginFailureCode.RATE_LIMITED, message=str(refused), retry_after=refused.seconds)
        if started is None:
            return LoginFailed(
                code=LoginFailureCode.INVALID_CREDENTIALS,
                message="The e-mail address or the password is wrong, or the account is disabled.",
                retry_after=None,
            )
        context.become(started.grant.identity)
        if by_cookie:
            context.cookies.give(started.grant, started.secret)
        return LoginSucceeded(
            viewer=Viewer.of(started.grant.identity),
            access_token=None if by_cookie else started.grant.access_token.reveal(),
            refresh_token=None if by_cookie else started.refresh_token.reveal(),
            expires_at=started.grant.access_expires_at,
        )

    @strawberry.mutation(
        permission_classes=[Public],
        description="End the session that you call with, and make the browser forget its cookies.",
    )
    async def logout(self, info: Info) -> LogoutResult:
        context = info.context
        if context.came_by_cookie:
            context.cookies.require()
        ended = await context.auth.sessions.end(context.outgoing)
        context.become(context.nobody)
        context.cookies.take_away()
        return LogoutResult(session_ended=ended)


def _device_name(input: LoginInput) -> str | None:  # noqa: A002
    try:
        return None if input.device_name is None else read_device_name(input.device_name)
    except InputRefused as refused:
        raise BadInput(str(refused)) from refused
