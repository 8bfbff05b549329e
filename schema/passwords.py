"""`changePassword`: the current one for a new one; every other session ends with it."""

from enum import Enum
from typing import Annotated

import strawberry

from auth.faults import Fault, InputRefused
from schema.context import Info
from schema.documents import CREDENTIAL
from schema.enums import code_of
from schema.failures import CODE, FIELD, MESSAGE, SUGGESTIONS
from schema.guards import IsHuman


@strawberry.input(description="The password that is, and the one that shall be.")
class ChangePasswordInput:
    """The argument of `changePassword`."""

    current_password: str = strawberry.field(description="The password that you log in with now.")
    new_password: str = strawberry.field(description="12 to 128 characters, not easily guessed.")


@strawberry.enum(description="Why a password was not changed.")
class ChangePasswordFailureCode(Enum):
    """The faults that a change of password can have."""

    CURRENT_PASSWORD_WRONG = code_of(Fault.CURRENT_PASSWORD_WRONG)
    PASSWORD_TOO_SHORT = code_of(Fault.PASSWORD_TOO_SHORT)
    PASSWORD_TOO_LONG = code_of(Fault.PASSWORD_TOO_LONG)
    PASSWORD_TOO_GUESSABLE = code_of(Fault.PASSWORD_TOO_GUESSABLE)


@strawberry.type(description="The password was changed, and your other sessions have ended.")
class ChangePasswordSucceeded:
    """The good answer of `changePassword`."""

    ended_sessions: int = strawberry.field(description="How many other sessions there were.")


@strawberry.type(description="The password is what it was, and no session ended.")
class ChangePasswordFailed:
    """The other answer of `changePassword`."""

    code: ChangePasswordFailureCode = strawberry.field(description=CODE)
    message: str = strawberry.field(description=MESSAGE)
    field: str = strawberry.field(description=FIELD)
    suggestions: list[str] = strawberry.field(description=SUGGESTIONS)


ChangePasswordResult = Annotated[
    ChangePasswordSucceeded | ChangePasswordFailed,
    strawberry.union("ChangePasswordResult", description="What came of a change of password."),
]


@strawberry.type
class PasswordsMutation:
    """Changing one's password."""

    @strawberry.mutation(
        permission_classes=[IsHuman],
        metadata=CREDENTIAL,
        description="Change your password and end your other sessions, both or neither.",
    )
    async def change_password(self, info: Info, input: ChangePasswordInput) -> ChangePasswordResult | None:  # noqa: A002
        try:
            ended = await info.context.auth.users.change_password(
                info.context.viewer, current=input.current_password, new=input.new_password
            )
        except InputRefused as refused:
            wrong_current = refused.fault is Fault.CURRENT_PASSWORD_WRONG
            return ChangePasswordFailed(
                code=ChangePasswordFailureCode[refused.fault.name],
                message=str(refused),
                field="currentPassword" if wrong_current else "newPassword",
                suggestions=list(refused.suggestions),
            )
        return ChangePasswordSucceeded(ended_sessions=ended)
