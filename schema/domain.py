"""A domain: types and resolvers of your own, with scopes, tables and a service, and no line of Watchword touched."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from auth import Auth
from auth.identity import Identity
from auth.scopes import CORE_SCOPES, ROLES, is_scope
from schema.context import Info
from store.namespaces import is_reserved

Service = TypeVar("Service")

# The value of a claim: JSON, for whoever the token is given to.
Claim = Callable[[Any, Identity], Awaitable[Any]]

_CLAIM_NAME = re.compile(r"https://[!-~]{1,200}")
_CORE_RESOURCES = frozenset(scope.partition(":")[0] for scope in CORE_SCOPES)
_NAME = re.compile(r"[a-z][a-z0-9]*")


class DomainRefused(Exception):
    """A domain that cannot be added; the message names it, and where to look."""


@dataclass(frozen=True)
class Domain(Generic[Service]):
    """What a developer adds.

    `name` is one lower-case word; scopes are `<name>:<action>` with a sentence each; `grants` says which role holds
    which of them (administrators hold all); `claims` are added to access tokens: each is named by an https address or
    `<name>:<word>`, and computed from the domain's service (None without a lifespan) and the identity that the token is
    for, None leaving it out; `migrations` is a folder of Alembic revisions whose tables are named
    `<name>_*`; `lifespan` receives `auth` and gives the domain's service for as long as the server runs.
    """

    name: str
    query: type | None = None
    mutation: type | None = None
    subscription: type | None = None
    types: Iterable[type] = ()
    scopes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    grants: Mapping[str, Iterable[str]] = field(default_factory=lambda: MappingProxyType({}))
    claims: Mapping[str, Claim] = field(default_factory=lambda: MappingProxyType({}))
    migrations: Path | None = None
    lifespan: Callable[[Auth], AbstractAsyncContextManager[Service]] | None = None

    def __post_init__(self) -> None:
        """Raise `DomainRefused` for a name, a scope or a grant that is not the domain's to give."""
        # Read more than once, so that a generator would be empty the second time.
        object.__setattr__(self, "types", tuple(self.types))
        kept = {role: given if isinstance(given, str) else tuple(given) for role, given in self.grants.items()}
        object.__setattr__(self, "grants", MappingProxyType(kept))
        object.__setattr__(self, "migrations", None if self.migrations is None else Path(self.migrations))
        if _NAME.fullmatch(self.name) is None:
            raise DomainRefused(f"a domain's name is one lower-case word, not {self.name!r}")
        if is_reserved(self.name) or self.name in _CORE_RESOURCES:
            raise DomainRefused(f"a domain cannot be called {self.name!r}: the core's own tables or scopes begin so")
        for scope, sentence in self.scopes.items():
            if not is_scope(scope) or not scope.startswith(f"{self.name}:"):
                raise DomainRefused(f"the domain {self.name!r} declares the scope {scope!r}; its own are {self.name}:…")
            if not sentence.strip():
                raise DomainRefused(f"the scope {scope!r} has no sentence that says what it allows")
        self._require_own_claims()
        for role, granted in self.grants.items():
            if isinstance(granted, str):
                raise DomainRefused(f"the domain {self.name!r} grants the text {granted!r}; it takes a list of scopes")
            if role not in ROLES:
                raise DomainRefused(f"the domain {self.name!r} grants to a role {role!r}; there are {', '.join(ROLES)}")
            if strange := set(granted) - set(self.scopes):
                raise DomainRefused(f"the domain {self.name!r} grants what it does not declare: {sorted(strange)}")

    def _require_own_claims(self) -> None:
        for claim in self.claims:
            # RFC 7519 §4.2: no name that another party, or the standard some day, may give another meaning.
            if _CLAIM_NAME.fullmatch(claim) is None and re.fullmatch(f"{self.name}:[a-z][a-z0-9_-]*", claim) is None:
                raise DomainRefused(
                    f"the domain {self.name!r} adds the claim {claim!r}; its own are named https://… or {self.name}:…"
                )

    def of(self, info: Info) -> Service:
        """Return the domain's service, in a resolver. Raises LookupError for a domain without a lifespan."""
        if self.name not in info.context.services:
            raise LookupError(f"the domain {self.name!r} has no lifespan, and so no service")
        service: Any = info.context.services[self.name]
        return service  # type: ignore[no-any-return]
