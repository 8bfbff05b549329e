"""What can be allowed (scopes, `resource:action`), and to whom (the roles that grant them)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

USER = "user"
ADMIN = "admin"

ROLES: Mapping[str, str] = MappingProxyType(
    {
        USER: "Somebody with an account: may see and change what is their own.",
        ADMIN: "An administrator: holds every scope, those of the domains included.",
    }
)

CORE_SCOPES: Mapping[str, str] = MappingProxyType(
    {
        "profile:read": "Read your name, e-mail address and roles",
        "sessions:read": "See where you are logged in",
        "tokens:read": "See your API tokens",
        "tokens:introspect": "Ask whether a token is good, whoever it was given to",
        "services:read": "See your service accounts",
        "services:write": "See every service account, and change those of the installation",
        "activity:read": "See what happened with your account",
        "audit:read": "See what happened with every account",
        "users:read": "See every account",
        "users:write": "Change the roles of accounts, disable and enable them",
    }
)

_GRANTED_TO_USERS = frozenset({"profile:read", "sessions:read", "tokens:read", "services:read", "activity:read"})

_SHAPE = re.compile(r"[a-z][a-z0-9-]*:[a-z][a-z0-9-]*")


def is_scope(text: str) -> bool:
    """Say whether a text has the shape `resource:action`."""
    return _SHAPE.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Rights:
    """The scopes an installation knows, each with its sentence, and the scopes that each role grants."""

    sentences: Mapping[str, str]
    grants: Mapping[str, frozenset[str]]
    _of_roles: dict[frozenset[str], frozenset[str]] = field(default_factory=dict, repr=False, compare=False)

    def of_roles(self, roles: Iterable[str]) -> frozenset[str]:
        """Return what the roles together grant; a role that is not known grants nothing."""
        together = frozenset(roles)
        known = self._of_roles.get(together)
        if known is None:
            granted = (self.grants.get(role, frozenset()) for role in together)
            known = self._of_roles[together] = frozenset[str]().union(*granted)
        return known


def rights(
    domain_scopes: Mapping[str, str] | None = None, domain_grants: Mapping[str, Iterable[str]] | None = None
) -> Rights:
    """Put the core's scopes and those of the domains together; administrators hold all of them."""
    sentences = {**CORE_SCOPES, **(domain_scopes or {})}
    grants = {role: frozenset(scopes) for role, scopes in (domain_grants or {}).items()}
    grants[USER] = _GRANTED_TO_USERS | grants.get(USER, frozenset())
    grants[ADMIN] = frozenset(sentences)
    return Rights(MappingProxyType(sentences), MappingProxyType(grants))
