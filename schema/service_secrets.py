"""Giving secrets and keys to service accounts, and taking them away."""

from datetime import datetime
from typing import Annotated

import strawberry
from strawberry import relay

from auth.faults import InputRefused
from schema.api_tokens import MAKES_CREDENTIALS
from schema.context import Info
from schema.documents import CREDENTIAL
from schema.guards import IsHuman
from schema.node import id_within
from schema.service_accounts import ServiceAccount, ServiceAccountFailed
from schema.service_credentials import ServiceAccountCredential


@strawberry.input(description="For which service account, and for how long.")
class CreateServiceAccountSecretInput:
    """The argument of `createServiceAccountSecret`."""

    id: relay.GlobalID = strawberry.field(description="The service account.")
    expires_at: datetime | None = strawberry.field(
        default=None, description="When it expires: within a year; never, if left out."
    )


@strawberry.input(description="For which service account, which key, and for how long.")
class CreateServiceAccountKeyInput:
    """The argument of `createServiceAccountKey`."""

    id: relay.GlobalID = strawberry.field(description="The service account.")
    public_key: str | None = strawberry.field(
        default=None,
        description="The public half of a key that the program keeps, in PEM or as a JWK: Ed25519, P-256 or RSA. "
        "If left out, a key file is made.",
    )
    expires_at: datetime | None = strawberry.field(
        default=None, description="When it expires: within a year; never, if left out."
    )


@strawberry.type(description="A secret was made.")
class CreateServiceAccountSecretSucceeded:
    """The good answer of `createServiceAccountSecret`."""

    service_account: ServiceAccount = strawberry.field(description="The account.")
    credential: ServiceAccountCredential = strawberry.field(description="The secret as the list shows it.")
    secret: str = strawberry.field(description="The `client_secret` itself. It is shown this once.")


@strawberry.type(description="A key was made, or registered.")
class CreateServiceAccountKeySucceeded:
    """The good answer of `createServiceAccountKey`."""

    service_account: ServiceAccount = strawberry.field(description="The account.")
    credential: ServiceAccountCredential = strawberry.field(description="The key as the list shows it.")
    key_file: str | None = strawberry.field(
        description="The key file, as JSON, in the layout that Google's auth libraries read; null when you brought "
        "the public half yourself. It is shown this once."
    )


CreateServiceAccountSecretResult = Annotated[
    CreateServiceAccountSecretSucceeded | ServiceAccountFailed,
    strawberry.union("CreateServiceAccountSecretResult", description="What came of the making of a secret."),
]
CreateServiceAccountKeyResult = Annotated[
    CreateServiceAccountKeySucceeded | ServiceAccountFailed,
    strawberry.union("CreateServiceAccountKeyResult", description="What came of the making of a key."),
]


@strawberry.input(description="Which secret or key to take away.")
class RevokeServiceAccountCredentialInput:
    """The argument of `revokeServiceAccountCredential`."""

    id: relay.GlobalID = strawberry.field(description="The secret or the key.")


@strawberry.type(description="The secret or key is refused from now on, and every token that was given for it.")
class RevokeServiceAccountCredentialResult:
    """The answer of `revokeServiceAccountCredential`."""

    service_account: ServiceAccount = strawberry.field(description="The account, without the credential.")


@strawberry.type
class ServiceSecretsMutation:
    """Secrets and keys. Several are good at a time, so that each can be replaced without a pause."""

    @strawberry.mutation(
        permission_classes=[*MAKES_CREDENTIALS],
        metadata=CREDENTIAL,
        description="Give a service account one more secret, which is shown once.",
    )
    async def create_service_account_secret(
        self,
        info: Info,
        input: CreateServiceAccountSecretInput,  # noqa: A002
    ) -> CreateServiceAccountSecretResult | None:
        account_id = id_within(input.id, "ServiceAccount")
        try:
            made = await info.context.auth.service_accounts.create_secret(
                info.context.viewer, account_id, expires_at=input.expires_at
            )
        except InputRefused as refused:
            return ServiceAccountFailed.of(refused)
        return CreateServiceAccountSecretSucceeded(
            service_account=ServiceAccount.of(made.account),
            credential=ServiceAccountCredential.of(made.credential),
            secret=made.shown_once.reveal() if made.shown_once else "",
        )

    @strawberry.mutation(
        permission_classes=[*MAKES_CREDENTIALS],
        metadata=CREDENTIAL,
        description="Give a service account one more key: a key file, which is shown once, or a key of its own.",
    )
    async def create_service_account_key(
        self,
        info: Info,
        input: CreateServiceAccountKeyInput,  # noqa: A002
    ) -> CreateServiceAccountKeyResult | None:
        viewer, accounts = info.context.viewer, info.context.auth.service_accounts
        account_id = id_within(input.id, "ServiceAccount")
        try:
            if input.public_key is None:
                made = await accounts.create_key_file(viewer, account_id, expires_at=input.expires_at)
            else:
                made = await accounts.add_public_key(viewer, account_id, input.public_key, expires_at=input.expires_at)
        except InputRefused as refused:
            return ServiceAccountFailed.of(refused)
        return CreateServiceAccountKeySucceeded(
            service_account=ServiceAccount.of(made.account),
            credential=ServiceAccountCredential.of(made.credential),
            key_file=made.shown_once.reveal() if made.shown_once else None,
        )

    @strawberry.mutation(
        permission_classes=[IsHuman],
        description="Take a secret or a key away from a service account, and every token that was given for it.",
    )
    async def revoke_service_account_credential(
        self,
        info: Info,
        input: RevokeServiceAccountCredentialInput,  # noqa: A002
    ) -> RevokeServiceAccountCredentialResult | None:
        row = await info.context.auth.service_accounts.revoke_credential(
            info.context.viewer, id_within(input.id, "ServiceAccountCredential")
        )
        return RevokeServiceAccountCredentialResult(service_account=ServiceAccount.of(row))
