"""`refresh`: a refresh token for the next access token, for native clients; a browser's is renewed without asking."""

from datetime import datetime
from enum import Enum
from typing import Annotated

import strawberry

from auth.refusals import Reason, Unauthenticated
from auth.secret import Secret
from schema.context import Info
from schema.documents import CREDENTIAL
from schema.enums import described
from schema.failures import CODE, MESSAGE
from schema.guards import Public
from schema.viewer import Viewer


@strawberry.input(description="What to go on with.")
class RefreshInput:
    """The argument of `refresh`."""

    refresh_token: str = strawberry.field(description="The last refresh token that you were given.")


def _code_of(reason: Reason) -> str:
    return described(reason.name, reason.value)


@strawberry.enum(description="Why there is no new access token; whichever it is, log in again.")
class RefreshFailureCode(Enum):
    """What can be wrong with a refresh token, or with its session."""

    REFRESH_TOKEN_INVALID = _code_of(Reason.REFRESH_TOKEN_INVALID)
    REFRESH_TOKEN_REUSED = _code_of(Reason.REFRESH_TOKEN_REUSED)
    SESSION_REVOKED = _code_of(Reason.SESSION_REVOKED)
    SESSION_EXPIRED = _code_of(Reason.SESSION_EXPIRED)
    SESSION_UNKNOWN = _code_of(Reason.SESSION_UNKNOWN)
    ACCOUNT_DISABLED = _code_of(Reason.ACCOUNT_DISABLED)


@strawberry.type(description="The session goes on.")
class RefreshSucceeded:
    """The good answer of `refresh`."""

    viewer: Viewer = strawberry.field(description="Whose session it is.")
    access_token: str = strawberry.field(description="The token, for `Authorization: Bearer`.")
    refresh_token: str = strawberry.field(
        description="What `refresh` takes next. If this answer is lost, the token before yields it once more."
    )
    expires_at: datetime = strawberry.field(description="When the access token expires.")


@strawberry.type(description="There is no new access token.")
class RefreshFailed:
    """The other answer of `refresh`."""

    code: RefreshFailureCode = strawberry.field(description=CODE)
    message: str = strawberry.field(description=MESSAGE)


RefreshResult = Annotated[
    RefreshSucceeded | RefreshFailed, strawberry.union("RefreshResult", description="What came of a refresh.")
]


@strawberry.type
class RefreshMutation:
    """Going on with a session."""

    @strawberry.mutation(
        permission_classes=[Public],
        metadata=CREDENTIAL,
        description="Exchange a refresh token for an access token and the next refresh token. One that was replaced "
        "long ago ends the session, for then two hold it.",
    )
    async def refresh(self, info: Info, input: RefreshInput) -> RefreshResult:  # noqa: A002
        context = info.context
        try:
            refreshed = await context.auth.renewal.refresh(Secret(input.refresh_token), context.origin)
        except Unauthenticated as refused:
            return RefreshFailed(code=RefreshFailureCode[refused.reason.name], message=str(refused))
        context.become(refreshed.grant.identity)
        return RefreshSucceeded(
            viewer=Viewer.of(refreshed.grant.identity),
            access_token=refreshed.grant.access_token.reveal(),
            refresh_token=refreshed.refresh_token.reveal(),
            expires_at=refreshed.grant.access_expires_at,
        )
