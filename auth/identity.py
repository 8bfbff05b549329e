"""Who calls: a value that is made where a row says so, handed out by `auth.gate`, and passed first to every service."""

from datetime import datetime
from enum import Enum
from typing import NamedTuple

from auth.origin import NOWHERE, Origin


class IdentityKind(Enum):
    """What sort of caller it is."""

    USER = "user"
    SERVICE = "service"
    ANONYMOUS = "anonymous"


class Identity(NamedTuple):
    """A caller and what they may do at this moment; rights are recomputed for every request.

    One is made for each request: as a tuple it takes a fifth of the time that a frozen dataclass does.

    `session_id` is there for a person, `token_id` (the `jti`) for a token that a script carries. Roles are a person's:
    a token has scopes alone, so that one made for little never passes a guard that asks for a role.
    """

    kind: IdentityKind
    subject: str | None = None
    session_id: str | None = None
    token_id: str | None = None
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    authentication_methods: tuple[str, ...] = ()
    authenticated_at: datetime | None = None
    client_id: str | None = None
    origin: Origin = NOWHERE

    @property
    def is_anonymous(self) -> bool:
        """Whether nothing is known of the caller."""
        return self.kind is IdentityKind.ANONYMOUS

    @property
    def is_human(self) -> bool:
        """Whether a person is there: a session, and not a token that a script may carry."""
        return self.kind is IdentityKind.USER and self.session_id is not None


ANONYMOUS = Identity(kind=IdentityKind.ANONYMOUS)
