"""The one place where access tokens are issued: claims, those of domains, and the key that signs now."""

from collections.abc import Mapping
from typing import Any

from auth import tokens
from auth.extra_claims import ExtraClaims
from auth.identity import Identity
from auth.key_ring import KeyRing
from auth.keys import SigningKey
from auth.policy import Policy
from auth.secret import Secret
from auth.tokens import Claims
from store import Transaction


class Issuer:
    """Asks domains for their claims, and signs access tokens."""

    def __init__(self, key_ring: KeyRing, extra_claims: ExtraClaims, policy: Policy) -> None:
        self._key_ring = key_ring
        self._extra_claims = extra_claims
        self._policy = policy

    async def claims_of_domains(self, identity: Identity) -> Mapping[str, Any]:
        """Return what domains say of an identity. Raises `ClaimsTooLarge`, and whatever a domain raises.

        Asked before a transaction begins: a domain may take its time, and may fail, and then nothing has happened.
        """
        return await self._extra_claims.of(identity)

    async def signing_key(self, tx: Transaction | None = None) -> SigningKey:
        """Return the key to sign with; within a transaction, so that without one nothing of it happens.

        Outside of one, a rotation that is due comes first. Raises `StoreUnavailable`.
        """
        return await self._key_ring.signing_key(tx)

    def access_token(self, claims: Claims, extra: Mapping[str, Any], key: SigningKey) -> Secret:
        """Return an access token with these claims of domains besides ours. Raises `TooManyScopes`."""
        return tokens.issue(claims, key, issuer=self._policy.issuer, extra=extra)
