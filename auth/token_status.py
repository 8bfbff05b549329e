"""What a token is worth, for those who ask about it (RFC 7662), and the end of it for those who hold it (RFC 7009)."""

from typing import Any

from auth.api_tokens import ApiTokens
from auth.gate import Gate
from auth.identity import Identity
from auth.oauth_refusals import OAuthFault, OAuthRefused
from auth.origin import Origin
from auth.refusals import Unauthenticated
from auth.renewal import Renewal
from auth.secret import Secret
from auth.service_login import Service
from auth.service_tokens import ServiceTokens
from auth.sessions import Sessions
from auth.tokens import Claims, TokenKind

_INTROSPECT = "tokens:introspect"


class TokenStatus:
    """Says whether a token is good at this moment, and revokes tokens that are shown."""

    def __init__(
        self,
        gate: Gate,
        sessions: Sessions,
        renewal: Renewal,
        api_tokens: ApiTokens,
        service_tokens: ServiceTokens,
    ) -> None:
        self._gate = gate
        self._sessions = sessions
        self._renewal = renewal
        self._api_tokens = api_tokens
        self._service_tokens = service_tokens

    async def introspect(self, asker: Service, token: Secret, origin: Origin) -> dict[str, Any] | None:
        """Return the claims of a token that is good, with the scopes it has now; None for any other.

        An account may ask about its own tokens and, with `tokens:introspect`, about anybody's; to all else the answer
        is the same as for a token that is not good. Raises `StoreUnavailable`.
        """
        try:
            claims = await self._gate.verify(token)
            if claims.client_id != asker.identity.subject and _INTROSPECT not in asker.identity.scopes:
                return None
            identity = await self._gate.admit(claims, origin)
        except Unauthenticated:
            return None
        told: dict[str, Any] = {
            "iss": claims.issuer,
            "sub": claims.subject,
            "aud": claims.kind.audience(claims.issuer),
            "exp": int(claims.expires_at.timestamp()),
            "iat": int(claims.issued_at.timestamp()),
            "jti": claims.token_id,
            "scope": " ".join(sorted(identity.scopes)),
            "token_type": "Bearer",
        }
        more = {"client_id": claims.client_id, "sid": claims.session_id}
        return told | {name: value for name, value in more.items() if value is not None}

    async def revoke(self, token: Secret, client: Service | None, origin: Origin) -> None:
        """Revoke a token that is shown, and what it stands for; a token that is not good is no error (RFC 7009 §2.2).

        A person's token ends the session, whether it is the access or the refresh token: to hold it is enough to end
        it. A service account's is revoked by that account alone. Raises `OAuthRefused` with INVALID_CLIENT or
        UNAUTHORIZED_CLIENT, and `StoreUnavailable`.
        """
        session_id = self._renewal.session_of(token)
        if session_id is not None:
            await self._sessions.end_shown(session_id, origin)
            return
        try:
            claims = await self._gate.verify(token)
        except Unauthenticated:
            return
        # Whose token it is may be disabled at the moment, and enabled again: the token must not come back with them.
        match claims.kind:
            case TokenKind.SESSION:
                await self._sessions.end_shown(claims.session_id or "", origin)
            case TokenKind.API:
                await self._api_tokens.revoke_presented(claims, origin)
            case TokenKind.SERVICE:
                await self._service_tokens.revoke_presented(claims, _same(client, claims))


def _same(client: Service | None, claims: Claims) -> Identity:
    """Return the client if it is the one that the token was given to. Raises `OAuthRefused`."""
    if client is None:
        raise OAuthRefused(OAuthFault.INVALID_CLIENT)
    if client.identity.subject != claims.client_id:
        raise OAuthRefused(OAuthFault.UNAUTHORIZED_CLIENT)
    return client.identity
