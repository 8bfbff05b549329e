"""Who calls: a value that is made in one place (`auth.gate`) and passed first to every service."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class IdentityKind(Enum):
    """What sort of caller it is."""

    USER = "user"
    SERVICE = "service"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller and what they may do at this moment; rights are recomputed for every request."""

    kind: IdentityKind
    subject: str | None = None
    session_id: str | None = None
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    authentication_methods: tuple[str, ...] = ()
    authenticated_at: datetime | None = None

    @property
    def is_anonymous(self) -> bool:
        """Whether nothing is known of the caller."""
        return self.kind is IdentityKind.ANONYMOUS

    @property
    def is_human(self) -> bool:
        """Whether a person is there: a session, and not a token that a script may carry."""
        return self.kind is IdentityKind.USER and self.session_id is not None


ANONYMOUS = Identity(kind=IdentityKind.ANONYMOUS)
