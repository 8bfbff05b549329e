"""What service accounts prove themselves with, as it is listed."""

from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Self

import strawberry
from strawberry import relay

from auth.service_accounts import KEY_FILE, PUBLIC_KEY, SECRET
from schema.context import Info
from schema.enums import described
from store.service_credentials import ServiceCredentialRow


@strawberry.enum(description="What a service account proves itself with.")
class ServiceAccountCredentialKind(Enum):
    """The kinds of credential, as GraphQL names them."""

    SECRET = described(SECRET, "A secret, sent to `/oauth/token` as `client_secret`.")
    KEY_FILE = described(KEY_FILE, "A key pair that was made here; the private half was in the file, shown once.")
    PUBLIC_KEY = described(PUBLIC_KEY, "A key pair that the program made; the private half was never seen here.")


@strawberry.type(description="A secret or a key of a service account. What proves it was shown once, or never.")
class ServiceAccountCredential(relay.Node):
    """A credential that is good."""

    id: relay.NodeID[str]
    kind: ServiceAccountCredentialKind = strawberry.field(description="What it is.")
    key_id: str | None = strawberry.field(description="The `kid` of a key: the RFC 7638 thumbprint of its public half.")
    created_at: datetime = strawberry.field(description="When it was made, or registered.")
    expires_at: datetime | None = strawberry.field(description="When it expires; null when it does not.")
    last_used_at: datetime | None = strawberry.field(description="When it was last used, to a minute.")
    last_used_address: str | None = strawberry.field(description="The network address it was last used from.")

    @classmethod
    def of(cls, row: ServiceCredentialRow) -> Self:
        """Present a row."""
        return cls(
            id=row.id,
            kind=ServiceAccountCredentialKind(row.kind),
            key_id=row.kid,
            created_at=row.created_at,
            expires_at=row.expires_at,
            last_used_at=row.last_used_at,
            last_used_address=row.last_used_address,
        )

    @classmethod
    async def resolve_nodes(  # type: ignore[override]
        cls, *, info: Info, node_ids: Iterable[str], required: bool = False
    ) -> list[Self | None]:
        """Find credentials by id, of accounts that the caller may see, if they hold `services:read`."""
        del required
        viewer, accounts = info.context.viewer, info.context.auth.service_accounts
        if "services:read" not in viewer.scopes:
            return [None for _ in node_ids]
        found = [await accounts.find_credential(viewer, credential_id) for credential_id in node_ids]
        return [None if row is None else cls.of(row) for row in found]
