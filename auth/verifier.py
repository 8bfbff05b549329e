"""The one verifier: every JWT that is presented to us comes through here, and what was verified is remembered."""

from collections import OrderedDict
from datetime import datetime

from auth import tokens
from auth.key_ring import KeyRing
from auth.policy import Policy
from auth.refusals import Reason, SigningKeyRevoked, Unauthenticated
from auth.secret import Secret
from auth.tokens import Claims

# Each takes about a kilobyte; a signature takes a hundred times as long as finding one here.
_REMEMBERED = 10_000


class Verifier:
    """Verifies tokens of this installation, each signature once.

    The memory is keyed by the SHA-256 of the token's whole text, and says nothing but that the signature holds: whether
    the session, token or account is good is read from its row on each request. `recalled` and `asked` count what was
    found there, and what was not.
    """

    def __init__(self, key_ring: KeyRing, policy: Policy) -> None:
        self._key_ring = key_ring
        self._policy = policy
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()
        self.recalled = 0
        self.asked = 0

    def recall(self, token: Secret, now: datetime) -> Claims | None:
        """Return what a token says if it was verified before. Raises `Unauthenticated` with TOKEN_EXPIRED."""
        digest = token.digest()
        known = self._verified.get(digest)
        if known is not None and known.expires_at <= now:
            del self._verified[digest]
            raise Unauthenticated(Reason.TOKEN_EXPIRED)
        if known is not None:
            self.recalled += 1
        return known

    async def verify(self, token: Secret, now: datetime) -> Claims:
        """Verify a token that is not remembered, and remember it.

        Raises `Unauthenticated` with TOKEN_EXPIRED, TOKEN_INVALID or, for a key that is good no longer, TOKEN_REVOKED;
        and `StoreUnavailable` when the ring does not know the key and cannot ask for it.
        """
        self.asked += 1
        unverified = tokens.read(token.reveal())
        found = await self._key_ring.verifying_key(unverified.kid)
        if found is None:
            raise Unauthenticated(Reason.TOKEN_INVALID)
        key, is_good = found
        claims = tokens.verify(unverified, key, issuer=self._policy.issuer, now=now)
        if not is_good:
            raise SigningKeyRevoked(key.kid)
        self._verified[token.digest()] = claims
        if len(self._verified) > _REMEMBERED:
            # The oldest goes first: access tokens live for minutes, so that is nearly always one that has expired.
            self._verified.popitem(last=False)
        return claims

    def forget_key(self, kid: str) -> None:
        """Drop every token that a key signed: its row says that it is good no longer."""
        self._key_ring.forget(kid)
        for digest in [digest for digest, claims in self._verified.items() if claims.kid == kid]:
            del self._verified[digest]
