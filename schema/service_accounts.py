"""Service accounts: programs with an account of their own, looked after by a person or by administrators."""

from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Annotated, Self

import strawberry
from strawberry import relay

from auth.faults import Fault, InputRefused
from schema.api_tokens import MAKES_CREDENTIALS
from schema.connections import USUAL_PAGE, After, Connection, First, connect
from schema.context import Info
from schema.documents import CREDENTIAL
from schema.enums import code_of
from schema.failures import CODE, FIELD, FIELD_OF, MESSAGE
from schema.guards import IsHuman, has_scope
from schema.node import id_within
from schema.service_credentials import ServiceAccountCredential
from schema.users import User
from store.service_accounts import ServiceAccountRow


@strawberry.type(description="A program with an account of its own. It asks for access tokens at `/oauth/token`.")
class ServiceAccount(relay.Node):
    """A service account, seen by its owner, by itself, or by somebody with `services:write`."""

    row: strawberry.Private[ServiceAccountRow]
    id: relay.NodeID[str]
    client_id: str = strawberry.field(description="The OAuth `client_id`.")
    name: str = strawberry.field(description="What it is called.")
    scopes: list[str] = strawberry.field(
        description="What it was made for; one that a person owns may what of this that person may at the moment."
    )
    is_of_installation: bool = strawberry.field(description="Whether it is the installation's and not a person's.")
    created_at: datetime = strawberry.field(description="When it was made.")
    disabled_at: datetime | None = strawberry.field(description="Since when it is disabled; null when it is not.")

    @strawberry.field(description="The secrets and keys that are good, the newest first.")
    async def credentials(self, info: Info) -> list[ServiceAccountCredential]:
        rows = await info.context.auth.service_accounts.credentials(self.row)
        return [ServiceAccountCredential.of(row) for row in rows]

    @strawberry.field(description="Whose it is; null for the installation's, and where the caller may not see people.")
    async def owner(self, info: Info) -> User | None:
        if self.row.owner_id is None:
            return None
        row = await info.context.auth.users.find(info.context.viewer, self.row.owner_id)
        return None if row is None else User.of(row)

    @classmethod
    def of(cls, row: ServiceAccountRow) -> Self:
        """Present a row."""
        return cls(
            row=row,
            id=row.id,
            client_id=row.id,
            name=row.name,
            scopes=sorted(row.scopes),
            is_of_installation=row.owner_id is None,
            created_at=row.created_at,
            disabled_at=row.disabled_at,
        )

    @classmethod
    async def resolve_nodes(  # type: ignore[override]
        cls, *, info: Info, node_ids: Iterable[str], required: bool = False
    ) -> list[Self | None]:
        """Find accounts by id, those that the caller may see, if they hold `services:read`."""
        del required
        viewer, accounts = info.context.viewer, info.context.auth.service_accounts
        if "services:read" not in viewer.scopes:
            return [None for _ in node_ids]
        found = [await accounts.find(viewer, account_id) for account_id in node_ids]
        return [None if row is None else cls.of(row) for row in found]


@strawberry.type
class ServiceAccountsQuery:
    """Looking after all of them."""

    @strawberry.field(
        permission_classes=[has_scope("services:write")],
        description="Every service account, a person's or the installation's, the newest first.",
    )
    async def service_accounts(
        self,
        info: Info,
        first: First = USUAL_PAGE,
        after: After = None,
    ) -> Connection[ServiceAccount] | None:
        viewer, accounts = info.context.viewer, info.context.auth.service_accounts
        return await connect(
            lambda limit, after_id: accounts.page_of_all(viewer, limit=limit, after=after_id),
            to_node=ServiceAccount.of,
            id_of=lambda row: row.id,
            first=first,
            after=after,
        )


@strawberry.input(description="What a service account is for.")
class CreateServiceAccountInput:
    """The argument of `createServiceAccount`."""

    name: str = strawberry.field(description="What to call it: 1 to 80 characters.")
    scopes: list[str] = strawberry.field(description="What it may: one or more of `viewer.grantableScopes`.")
    of_installation: bool = strawberry.field(
        default=False,
        description="Whether it is to be the installation's, and live on when you are gone. Takes `services:write`.",
    )


@strawberry.enum(description="Why nothing was made for a service account.")
class ServiceAccountFailureCode(Enum):
    """The faults that the making of accounts and credentials can have."""

    SERVICE_NAME_INVALID = code_of(Fault.SERVICE_NAME_INVALID)
    SCOPES_MISSING = code_of(Fault.SCOPES_MISSING)
    SCOPES_NOT_HELD = code_of(Fault.SCOPES_NOT_HELD)
    EXPIRY_INVALID = code_of(Fault.EXPIRY_INVALID)
    PUBLIC_KEY_INVALID = code_of(Fault.PUBLIC_KEY_INVALID)
    PUBLIC_KEY_IS_PRIVATE = code_of(Fault.PUBLIC_KEY_IS_PRIVATE)
    PUBLIC_KEY_KNOWN = code_of(Fault.PUBLIC_KEY_KNOWN)
    TOO_MANY = code_of(Fault.TOO_MANY)


@strawberry.type(description="Nothing was made, and everything is as it was.")
class ServiceAccountFailed:
    """The other answer of the three mutations that make something."""

    code: ServiceAccountFailureCode = strawberry.field(description=CODE)
    message: str = strawberry.field(description=MESSAGE)
    field: str | None = strawberry.field(description=FIELD)

    @classmethod
    def of(cls, refused: InputRefused) -> Self:
        """Present a fault."""
        code = ServiceAccountFailureCode[refused.fault.name]
        return cls(code=code, message=str(refused), field=FIELD_OF.get(refused.fault))


@strawberry.type(description="A service account was made. It has no secret and no key yet.")
class CreateServiceAccountSucceeded:
    """The good answer of `createServiceAccount`."""

    service_account: ServiceAccount = strawberry.field(description="The account.")


CreateServiceAccountResult = Annotated[
    CreateServiceAccountSucceeded | ServiceAccountFailed,
    strawberry.union("CreateServiceAccountResult", description="What came of the making of a service account."),
]


@strawberry.input(description="Which service account to disable.")
class DisableServiceAccountInput:
    """The argument of `disableServiceAccount`."""

    id: relay.GlobalID = strawberry.field(description="The service account.")


@strawberry.type(description="The service account is disabled, for good.")
class DisableServiceAccountResult:
    """The answer of `disableServiceAccount`."""

    service_account: ServiceAccount = strawberry.field(description="The account, disabled.")


@strawberry.type
class ServiceAccountsMutation:
    """Looking after service accounts. What is taken away is refused on the next request."""

    @strawberry.mutation(
        permission_classes=[*MAKES_CREDENTIALS], metadata=CREDENTIAL, description="Make a service account."
    )
    async def create_service_account(
        self,
        info: Info,
        input: CreateServiceAccountInput,  # noqa: A002
    ) -> CreateServiceAccountResult | None:
        try:
            row = await info.context.auth.service_accounts.create(
                info.context.viewer, name=input.name, scopes=input.scopes, of_installation=input.of_installation
            )
        except InputRefused as refused:
            return ServiceAccountFailed.of(refused)
        return CreateServiceAccountSucceeded(service_account=ServiceAccount.of(row))

    @strawberry.mutation(
        permission_classes=[IsHuman],
        description="Disable a service account for good: its tokens, secrets and keys end at once.",
    )
    async def disable_service_account(
        self,
        info: Info,
        input: DisableServiceAccountInput,  # noqa: A002
    ) -> DisableServiceAccountResult | None:
        row = await info.context.auth.service_accounts.disable(
            info.context.viewer, id_within(input.id, "ServiceAccount")
        )
        return DisableServiceAccountResult(service_account=ServiceAccount.of(row))
