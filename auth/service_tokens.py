"""Access tokens of service accounts: given, told who they stand for, and revoked (RFC 6749 §4.4)."""

from dataclasses import dataclass
from datetime import timedelta

import store.service_accounts
import store.token_revocations
from auth.audit import Act
from auth.foundation import Foundation
from auth.identity import Identity
from auth.ids import new_id
from auth.issuer import Issuer
from auth.oauth_refusals import OAuthFault, OAuthRefused
from auth.origin import Origin
from auth.refusals import Reason, SigningKeyRevoked, Unauthenticated
from auth.secret import Secret
from auth.service_login import Service
from auth.service_standing import is_disabled, scopes_of, service_identity
from auth.tokens import Claims, TokenKind, TooManyScopes


@dataclass(frozen=True, slots=True)
class ServiceGrant:
    """An access token for a service account."""

    access_token: Secret
    expires_in: timedelta
    scopes: frozenset[str]


class ServiceTokens:
    """Gives service accounts their access tokens, and says what those are worth."""

    def __init__(self, foundation: Foundation, issuer: Issuer) -> None:
        self._database = foundation.database
        self._issuer = issuer
        self._rights = foundation.rights
        self._policy = foundation.policy
        self._audit = foundation.audit
        self._clock = foundation.clock

    async def token_for(self, service: Service, scope: str | None = None) -> ServiceGrant:
        """Give an account an access token for the scopes it asks for or, if it asks for none, for all it holds.

        What its assertion asks for, the request may narrow and not widen: the one is signed. Raises `OAuthRefused` with
        INVALID_SCOPE, also for more scopes than a token has room for, and `StoreUnavailable`.
        """
        held = service.identity.scopes
        signed = _scopes_in(service.asked_scope) or held
        wanted = _scopes_in(scope) or signed
        if not wanted <= signed <= held:
            raise OAuthRefused(OAuthFault.INVALID_SCOPE)
        now = self._clock.now()
        account_id = service.identity.subject or ""
        claims = Claims(
            kind=TokenKind.SERVICE,
            subject=account_id,
            token_id=new_id(),
            scopes=wanted,
            issued_at=now,
            expires_at=now + self._policy.access_token_lifetime,
            client_id=account_id,
            credential_id=service.credential_id,
        )
        extra = await self._issuer.claims_of_domains(service.identity)
        try:
            token = self._issuer.access_token(claims, extra, await self._issuer.signing_key())
        except TooManyScopes as error:
            raise OAuthRefused(OAuthFault.INVALID_SCOPE) from error
        await self._audit.record_alone(
            Act.SERVICE_LOGIN,
            service.identity,
            concerning=service.owner_id or account_id,
            what=claims.token_id,
            via=service.credential_id,
        )
        return ServiceGrant(token, self._policy.access_token_lifetime, wanted)

    async def identify(self, claims: Claims, origin: Origin) -> Identity:
        """Return the identity behind a service account's access token, as the rows have it now.

        Raises `Unauthenticated` when the account, its owner, its credential, the token or the key was taken away, and
        `StoreUnavailable`.
        """
        now = self._clock.now()
        standing = await store.service_accounts.standing(
            self._database,
            claims.subject,
            kid=claims.kid,
            credential_id=claims.credential_id or "",
            token_id=claims.token_id,
            now=now,
        )
        if standing is None or claims.client_id != claims.subject:
            raise Unauthenticated(Reason.TOKEN_INVALID)
        if standing.key_verifies_until is None or standing.key_verifies_until <= now:
            raise SigningKeyRevoked(claims.kid)
        if not standing.credential_is_good or standing.token_is_revoked:
            raise Unauthenticated(Reason.TOKEN_REVOKED)
        if is_disabled(standing):
            raise Unauthenticated(Reason.ACCOUNT_DISABLED)
        scopes = scopes_of(standing, self._rights) & claims.scopes
        return service_identity(standing.account_id, scopes, origin, token_id=claims.token_id)

    async def revoke_presented(self, claims: Claims, identity: Identity) -> None:
        """Revoke an access token that its account has shown."""
        async with self._database.transaction() as tx:
            if await store.token_revocations.add(
                tx, claims.token_id, expires_at=claims.expires_at, now=self._clock.now()
            ):
                account = await store.service_accounts.find(tx, claims.subject)
                concerning = (account.owner_id if account else None) or claims.subject
                await self._audit.record(
                    tx, Act.ACCESS_TOKEN_REVOKE, identity, concerning=concerning, what=claims.token_id
                )


def _scopes_in(parameter: str | None) -> frozenset[str]:
    return frozenset((parameter or "").split(" ")) - {""}
