"""Claims that domains add to access tokens, for the services that read them; ours are never replaced."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from auth.identity import Identity

# A browser keeps a cookie of 4 kB, of which our own claims need a good part.
LARGEST = 1_000

ClaimSource = Callable[[Identity], Awaitable[Any]]


class ClaimsTooLarge(Exception):
    """The claims that domains add take more room than a token has; nothing was issued."""


class ExtraClaims:
    """Collects, for an identity that is about to be given an access token, what domains say of it."""

    def __init__(self) -> None:
        self._sources: dict[str, ClaimSource] = {}

    def add(self, name: str, source: ClaimSource) -> None:
        """Ask this source for the claim of this name, whenever an access token is issued; None leaves it out.

        Raises ValueError for a name without a colon: such are the standard's, and ours.
        """
        if ":" not in name:
            raise ValueError(f"the claim {name!r} is named neither by an address nor after its domain")
        self._sources[name] = source

    async def of(self, identity: Identity) -> Mapping[str, Any]:
        """Return the claims for an identity. Raises `ClaimsTooLarge`, and whatever a source raises."""
        if not self._sources:
            return {}
        found = {name: await source(identity) for name, source in self._sources.items()}
        claims = {name: value for name, value in found.items() if value is not None}
        if len(orjson.dumps(claims)) > LARGEST:
            raise ClaimsTooLarge(f"the claims {', '.join(claims)} take more than {LARGEST} bytes together")
        return claims
