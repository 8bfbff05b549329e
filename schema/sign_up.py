"""`signUp`: an account for whoever asks. It does not log in, and it does not tell whether the address was free."""

from enum import Enum
from typing import Annotated

import strawberry

from auth.faults import Fault, InputRefused
from schema.context import Info
from schema.documents import CREDENTIAL
from schema.enums import code_of
from schema.failures import CODE, FIELD, FIELD_OF, MESSAGE, SUGGESTIONS
from schema.guards import Public


@strawberry.input(description="Who signs up.")
class SignUpInput:
    """The argument of `signUp`."""

    email: str = strawberry.field(description="The address to log in with.")
    password: str = strawberry.field(description="12 to 128 characters, not easily guessed.")
    display_name: str = strawberry.field(description="What to be called: 1 to 80 characters.")


@strawberry.enum(description="Why a sign-up failed.")
class SignUpFailureCode(Enum):
    """The faults that a sign-up can have; a taken address is not among them."""

    EMAIL_INVALID = code_of(Fault.EMAIL_INVALID)
    DISPLAY_NAME_INVALID = code_of(Fault.DISPLAY_NAME_INVALID)
    PASSWORD_TOO_SHORT = code_of(Fault.PASSWORD_TOO_SHORT)
    PASSWORD_TOO_LONG = code_of(Fault.PASSWORD_TOO_LONG)
    PASSWORD_TOO_GUESSABLE = code_of(Fault.PASSWORD_TOO_GUESSABLE)


@strawberry.type(
    description="The sign-up was taken in. The answer is the same when the address has an account already."
)
class SignUpSucceeded:
    """The good answer of `signUp`."""

    message: str = strawberry.field(description="What to do next, for a person.")


@strawberry.type(description="Nobody was signed up.")
class SignUpFailed:
    """The other answer of `signUp`."""

    code: SignUpFailureCode = strawberry.field(description=CODE)
    message: str = strawberry.field(description=MESSAGE)
    field: str = strawberry.field(description=FIELD)
    suggestions: list[str] = strawberry.field(description=SUGGESTIONS)


SignUpResult = Annotated[
    SignUpSucceeded | SignUpFailed, strawberry.union("SignUpResult", description="What came of a sign-up.")
]


@strawberry.type
class SignUpMutation:
    """Signing up."""

    @strawberry.mutation(
        permission_classes=[Public], metadata=CREDENTIAL, description="Make an account. It does not log in."
    )
    async def sign_up(self, info: Info, input: SignUpInput) -> SignUpResult:  # noqa: A002
        try:
            await info.context.auth.users.sign_up(
                email=input.email,
                password=input.password,
                display_name=input.display_name,
                origin=info.context.origin,
            )
        except InputRefused as refused:
            return SignUpFailed(
                code=SignUpFailureCode[refused.fault.name],
                message=str(refused),
                field=FIELD_OF[refused.fault],
                suggestions=list(refused.suggestions),
            )
        return SignUpSucceeded(message="If this address had no account, it has one now: log in.")
