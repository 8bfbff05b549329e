"""Renewal: a session that lives, for a fresh access token. Silent for cookies, by refresh token for native clients."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import store.sessions
from auth.audit import Act
from auth.foundation import Foundation
from auth.identity import Identity
from auth.ids import new_id
from auth.issuer import Issuer
from auth.origin import Origin
from auth.refresh_tokens import RefreshToken, RefreshTokens
from auth.refusals import Reason, Unauthenticated
from auth.secret import Secret
from auth.sessions import Sessions
from auth.tokens import FIRST_PARTY_CLIENT, Claims, TokenKind
from store import StoreUnavailable, Transaction
from store.sessions import Standing

# A browser with ten tabs renews ten times at once; one of them writes "last seen".
_SEEN_RECENTLY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Grant:
    """An access token for a session, fresh, with the identity that it stands for."""

    identity: Identity
    access_token: Secret
    access_expires_at: datetime
    session_expires_at: datetime


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh token was exchanged for. The token before this one yields this one again, and none before that."""

    grant: Grant
    refresh_token: Secret


class _Place(Enum):
    CURRENT = "the one to use"
    PREVIOUS = "replaced by the current one, whose answer may have been lost"
    OLDER = "replaced long ago: two hold it"


class Renewal:
    """Gives access tokens for sessions."""

    def __init__(
        self, foundation: Foundation, sessions: Sessions, issuer: Issuer, refresh_tokens: RefreshTokens
    ) -> None:
        self._database = foundation.database
        self._sessions = sessions
        self._issuer = issuer
        self._refresh_tokens = refresh_tokens
        self._policy = foundation.policy
        self._audit = foundation.audit
        self._clock = foundation.clock

    async def grant(
        self, standing: Standing | None, origin: Origin, *, extra: Mapping[str, Any] | None = None
    ) -> Grant:
        """Return an access token for a session that lives; `extra` are the claims of domains, if they were asked.

        Raises `Unauthenticated`, `ClaimsTooLarge`, whatever a domain raises, and `StoreUnavailable`.
        """
        identity = self._sessions.admit(standing, origin)
        if standing is None:
            raise Unauthenticated(Reason.SESSION_UNKNOWN)
        if extra is None:
            extra = await self.claims_of_domains(identity)
        now = self._clock.now()
        expires_at = min(now + self._policy.access_token_lifetime, standing.expires_at)
        claims = Claims(
            kind=TokenKind.SESSION,
            subject=standing.user_id,
            token_id=new_id(),
            scopes=identity.scopes,
            issued_at=now,
            expires_at=expires_at,
            client_id=FIRST_PARTY_CLIENT,
            session_id=standing.session_id,
            authentication_methods=standing.authentication_methods,
            authenticated_at=standing.authenticated_at,
        )
        token = await self._issuer.access_token(claims, extra)
        return Grant(identity, token, expires_at, standing.expires_at)

    async def renew(self, secret: Secret, origin: Origin) -> Grant:
        """Give a new access token for the session that has this secret.

        Raises `Unauthenticated` when there is none that lives, and `StoreUnavailable`.
        """
        standing = await store.sessions.standing_by_secret(self._database, secret.digest())
        grant = await self.grant(standing, origin)
        if standing is not None and self._clock.now() - standing.last_seen_at >= _SEEN_RECENTLY:
            # Not to be able to write down when somebody was seen is no reason to keep them out.
            with suppress(StoreUnavailable):
                async with self._database.transaction() as tx:
                    await store.sessions.touch(
                        tx, standing.session_id, seen_at=self._clock.now(), address=origin.address
                    )
        return grant

    async def claims_of_domains(self, identity: Identity) -> Mapping[str, Any]:
        """Return what domains say of an identity, asked before the transaction that its token is earned in."""
        return await self._issuer.claims_of_domains(identity)

    def first_refresh_token(self, standing: Standing) -> Secret:
        """Return the refresh token of a session that has just begun."""
        return self._refresh_tokens.make(standing.session_id, standing.refresh_counter)

    async def refresh(self, token: Secret, origin: Origin) -> Refreshed:
        """Exchange a refresh token for an access token and the next refresh token.

        The previous token yields what the current one is: its answer was lost, or two tabs asked at once. An older one
        ends the session, for then two hold it. Raises `Unauthenticated` with REFRESH_TOKEN_INVALID,
        REFRESH_TOKEN_REUSED or what is wrong with the session, and `StoreUnavailable`, after which the same token may
        be tried again: what was not committed did not happen.
        """
        presented = self._refresh_tokens.read(token)
        if presented is None:
            raise Unauthenticated(Reason.REFRESH_TOKEN_INVALID)
        standing = await store.sessions.standing(self._database, presented.session_id)
        extra = await self.claims_of_domains(self._sessions.admit(standing, origin))
        async with self._database.transaction() as tx:
            standing = await store.sessions.standing(tx, presented.session_id)
            identity = self._sessions.admit(standing, origin)
            place = await self._take(tx, presented, identity)
            if place is _Place.OLDER:
                await self._sessions.end_session(tx, presented.session_id, Act.SESSION_REUSE, origin)
            standing = await store.sessions.standing(tx, presented.session_id)
        if place is _Place.OLDER or standing is None:
            raise Unauthenticated(Reason.REFRESH_TOKEN_REUSED)
        refresh_token = self._refresh_tokens.make(standing.session_id, standing.refresh_counter)
        return Refreshed(await self.grant(standing, origin, extra=extra), refresh_token)

    async def _take(self, tx: Transaction, presented: RefreshToken, identity: Identity) -> _Place:
        """Count a refresh in one statement, so that of many at once exactly one is the first."""
        # A counter ahead of the row's is one that we signed: the database was put back from a backup since.
        if await store.sessions.advance(
            tx,
            presented.session_id,
            presented.counter,
            seen_at=self._clock.now(),
            address=identity.origin.address,
        ):
            await self._audit.record(
                tx, Act.SESSION_REFRESH, identity, concerning=identity.subject, what=presented.session_id
            )
            return _Place.CURRENT
        standing = await store.sessions.standing(tx, presented.session_id)
        one_back = standing is not None and presented.counter == standing.refresh_counter - 1
        return _Place.PREVIOUS if one_back else _Place.OLDER

    def session_of(self, token: Secret) -> str | None:
        """Return the id of the session that a refresh token of ours names, or None for another text."""
        presented = self._refresh_tokens.read(token)
        return None if presented is None else presented.session_id
