"""API tokens: JWTs that a person downloads for their scripts, seen, made and revoked by their owner."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated, Self

import strawberry
from strawberry import relay

from auth.faults import Fault, InputRefused
from schema.context import Info
from schema.documents import CREDENTIAL
from schema.enums import code_of
from schema.failures import CODE, FIELD, FIELD_OF, MESSAGE
from schema.guards import Guard, IsHuman, IsRecent
from schema.node import id_within
from store.api_tokens import ApiTokenRow

# What is made here outlives the session: somebody at an unlocked screen should not be able to take it along.
MAKES_CREDENTIALS: list[type[Guard]] = [IsHuman, IsRecent(timedelta(hours=1))]


@strawberry.type(description="A token for scripts, seen by its owner. The token itself was shown once.")
class ApiToken(relay.Node):
    """An API token that is good."""

    id: relay.NodeID[str]
    name: str = strawberry.field(description="What its owner calls it.")
    scopes: list[str] = strawberry.field(
        description="What it was made for; it may what of this its owner may at the moment."
    )
    created_at: datetime = strawberry.field(description="When it was made.")
    expires_at: datetime = strawberry.field(description="When it expires.")
    last_used_at: datetime | None = strawberry.field(description="When it was last used, to a minute.")
    last_used_address: str | None = strawberry.field(description="The network address it was last used from.")

    @classmethod
    def of(cls, row: ApiTokenRow) -> Self:
        """Present a row."""
        return cls(
            id=row.id,
            name=row.name,
            scopes=sorted(row.scopes),
            created_at=row.created_at,
            expires_at=row.expires_at,
            last_used_at=row.last_used_at,
            last_used_address=row.last_used_address,
        )

    @classmethod
    async def resolve_nodes(  # type: ignore[override]
        cls, *, info: Info, node_ids: Iterable[str], required: bool = False
    ) -> list[Self | None]:
        """Find tokens by id: the caller's own, if they hold `tokens:read`."""
        del required
        viewer, api_tokens = info.context.viewer, info.context.auth.api_tokens
        if "tokens:read" not in viewer.scopes:
            return [None for _ in node_ids]
        found = [await api_tokens.find(viewer, token_id) for token_id in node_ids]
        return [None if row is None else cls.of(row) for row in found]


@strawberry.input(description="What a token is for.")
class CreateApiTokenInput:
    """The argument of `createApiToken`."""

    name: str = strawberry.field(description="What to call it in the list: 1 to 80 characters.")
    scopes: list[str] = strawberry.field(
        description="What it may: one or more of `viewer.grantableScopes`. Fewer is safer."
    )
    expires_at: datetime | None = strawberry.field(
        default=None, description="When it expires: within a year; after 90 days if left out."
    )


@strawberry.enum(description="Why no token was made.")
class CreateApiTokenFailureCode(Enum):
    """The faults that the making of a token can have."""

    TOKEN_NAME_INVALID = code_of(Fault.TOKEN_NAME_INVALID)
    SCOPES_MISSING = code_of(Fault.SCOPES_MISSING)
    SCOPES_NOT_HELD = code_of(Fault.SCOPES_NOT_HELD)
    EXPIRY_INVALID = code_of(Fault.EXPIRY_INVALID)
    TOO_MANY = code_of(Fault.TOO_MANY)


@strawberry.type(description="A token was made.")
class CreateApiTokenSucceeded:
    """The good answer of `createApiToken`."""

    api_token: ApiToken = strawberry.field(description="The token as the list shows it.")
    token: str = strawberry.field(
        description="The JWT itself, for `Authorization: Bearer`. It is shown this once: keep it, as a password."
    )


@strawberry.type(description="No token was made.")
class CreateApiTokenFailed:
    """The other answer of `createApiToken`."""

    code: CreateApiTokenFailureCode = strawberry.field(description=CODE)
    message: str = strawberry.field(description=MESSAGE)
    field: str | None = strawberry.field(description=FIELD)


CreateApiTokenResult = Annotated[
    CreateApiTokenSucceeded | CreateApiTokenFailed,
    strawberry.union("CreateApiTokenResult", description="What came of the making of a token."),
]


@strawberry.input(description="Which token to revoke.")
class RevokeApiTokenInput:
    """The argument of `revokeApiToken`."""

    id: relay.GlobalID = strawberry.field(description="The token, one of your own.")


@strawberry.type(description="The token is refused from now on.")
class RevokeApiTokenResult:
    """The answer of `revokeApiToken`."""

    api_token: ApiToken = strawberry.field(description="The token that was revoked.")


@strawberry.type
class ApiTokensMutation:
    """Making and revoking tokens. A revoked one is refused on its next request."""

    @strawberry.mutation(
        permission_classes=[*MAKES_CREDENTIALS],
        metadata=CREDENTIAL,
        description="Make a token for a script, which is shown once.",
    )
    async def create_api_token(self, info: Info, input: CreateApiTokenInput) -> CreateApiTokenResult | None:  # noqa: A002
        try:
            made = await info.context.auth.api_tokens.create(
                info.context.viewer, name=input.name, scopes=input.scopes, expires_at=input.expires_at
            )
        except InputRefused as refused:
            return CreateApiTokenFailed(
                code=CreateApiTokenFailureCode[refused.fault.name],
                message=str(refused),
                field=FIELD_OF.get(refused.fault),
            )
        return CreateApiTokenSucceeded(api_token=ApiToken.of(made.row), token=made.token.reveal())

    @strawberry.mutation(permission_classes=[IsHuman], description="Revoke one of your tokens, at once.")
    async def revoke_api_token(self, info: Info, input: RevokeApiTokenInput) -> RevokeApiTokenResult | None:  # noqa: A002
        row = await info.context.auth.api_tokens.revoke(info.context.viewer, id_within(input.id, "ApiToken"))
        return RevokeApiTokenResult(api_token=ApiToken.of(row))
