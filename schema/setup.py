"""`createFirstAdministrator`: with the one-time token that the server printed when it had no administrator."""

from enum import Enum
from typing import Annotated

import strawberry

from auth.faults import Fault, InputRefused
from auth.secret import Secret
from schema.context import Info
from schema.documents import CREDENTIAL
from schema.enums import code_of
from schema.failures import CODE, FIELD, FIELD_OF, MESSAGE, SUGGESTIONS
from schema.guards import Public
from schema.users import User


@strawberry.input(description="The setup token, and who the administrator shall be.")
class CreateFirstAdministratorInput:
    """The argument of `createFirstAdministrator`."""

    setup_token: str = strawberry.field(description="The one-time token from the server's terminal, valid for an hour.")
    email: str = strawberry.field(description="The address to log in with.")
    password: str = strawberry.field(description="12 to 128 characters, not easily guessed.")
    display_name: str = strawberry.field(description="What to be called: 1 to 80 characters.")


@strawberry.enum(description="Why no administrator was made.")
class CreateFirstAdministratorFailureCode(Enum):
    """The faults it can have."""

    SETUP_TOKEN_INVALID = code_of(Fault.SETUP_TOKEN_INVALID)
    EMAIL_TAKEN = code_of(Fault.EMAIL_TAKEN)
    EMAIL_INVALID = code_of(Fault.EMAIL_INVALID)
    DISPLAY_NAME_INVALID = code_of(Fault.DISPLAY_NAME_INVALID)
    PASSWORD_TOO_SHORT = code_of(Fault.PASSWORD_TOO_SHORT)
    PASSWORD_TOO_LONG = code_of(Fault.PASSWORD_TOO_LONG)
    PASSWORD_TOO_GUESSABLE = code_of(Fault.PASSWORD_TOO_GUESSABLE)


@strawberry.type(description="The administrator exists; log in as them.")
class CreateFirstAdministratorSucceeded:
    """The good answer of `createFirstAdministrator`."""

    user: User = strawberry.field(description="The administrator.")


@strawberry.type(description="Nobody was made, and the setup token is as good as before.")
class CreateFirstAdministratorFailed:
    """The other answer of `createFirstAdministrator`."""

    code: CreateFirstAdministratorFailureCode = strawberry.field(description=CODE)
    message: str = strawberry.field(description=MESSAGE)
    field: str = strawberry.field(description=FIELD)
    suggestions: list[str] = strawberry.field(description=SUGGESTIONS)


CreateFirstAdministratorResult = Annotated[
    CreateFirstAdministratorSucceeded | CreateFirstAdministratorFailed,
    strawberry.union("CreateFirstAdministratorResult", description="What came of it."),
]


@strawberry.type
class SetupMutation:
    """Setting an installation up."""

    @strawberry.mutation(
        permission_classes=[Public],
        metadata=CREDENTIAL,
        description="Make the first administrator. The setup token, not the caller, is what is trusted.",
    )
    async def create_first_administrator(
        self,
        info: Info,
        input: CreateFirstAdministratorInput,  # noqa: A002
    ) -> CreateFirstAdministratorResult:
        try:
            row = await info.context.auth.setup.create_first_administrator(
                Secret(input.setup_token),
                email=input.email,
                password=input.password,
                display_name=input.display_name,
                origin=info.context.origin,
            )
        except InputRefused as refused:
            return CreateFirstAdministratorFailed(
                code=CreateFirstAdministratorFailureCode[refused.fault.name],
                message=str(refused),
                field=FIELD_OF[refused.fault],
                suggestions=list(refused.suggestions),
            )
        return CreateFirstAdministratorSucceeded(user=User.of(row))
