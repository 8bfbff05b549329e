"""Renewal: a session that lives, for a fresh access token. Silent for cookies, by refresh token for native clients."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn

import store.sessions
from auth.alone import account
from auth.audit import Act
from auth.foundation import Foundation
from auth.identity import Identity
from auth.ids import new_id
from auth.issuer import Issuer
from auth.keys import SigningKey
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

    async def grant(self, standing: Standing | None, origin: Origin) -> Grant:
        """Return an access token for a session that lives.

        Raises `Unauthenticated`, `ClaimsTooLarge`, whatever a domain raises, and `StoreUnavailable`.
        """
        extra = await self._issuer.claims_of_domains(self._sessions.admit(standing, origin))
        return self.signed(standing, origin, extra, await self._issuer.signing_key())

    async def prepare(self, identity: Identity) -> Mapping[str, Any]:
        """Do what may take its time, or fail, before the transaction in which a token is earned.

        Domains are asked for their claims, which are returned, and a rotation of keys that is due is made. Raises
        `ClaimsTooLarge`, whatever a domain raises, and `StoreUnavailable`.
        """
        await self._issuer.signing_key()
        return await self._issuer.claims_of_domains(identity)

    async def key_for(self, tx: Transaction) -> SigningKey:
        """Return the key to sign with, within the transaction that has to come to nothing if there is none."""
        return await self._issuer.signing_key(tx)

    def signed(self, standing: Standing | None, origin: Origin, extra: Mapping[str, Any], key: SigningKey) -> Grant:
        """Return an access token for a session that lives, with the claims of domains. Raises `Unauthenticated`."""
        identity = self._sessions.admit(standing, origin)
        if standing is None:
            raise Unauthenticated(Reason.SESSION_UNKNOWN)
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
        return Grant(identity, self._issuer.access_token(claims, extra, key), expires_at, standing.expires_at)

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
        identity = self._sessions.admit(standing, origin)
        if _is_old(presented, standing):
            # At once, and before anything is done that may fail: nothing else keeps a thief in.
            return await self._end_reused(presented, identity)
        extra = await self.prepare(identity)
        async with self._database.transaction(account(identity.subject)) as tx:
            identity = self._sessions.admit(await store.sessions.standing(tx, presented.session_id), origin)
            key = await self.key_for(tx)
            is_first = await self._advance(tx, presented, identity)
            standing = await store.sessions.standing(tx, presented.session_id)
            is_old = _is_old(presented, standing)  # others may have refreshed twice since it was looked at
            if not is_old:
                told = {"what": identity.session_id, "detail": None if is_first else "once more"}
                await self._audit.record(tx, Act.SESSION_REFRESH, identity, concerning=identity.subject, **told)
        if is_old or standing is None:
            return await self._end_reused(presented, identity)
        refresh_token = self._refresh_tokens.make(standing.session_id, standing.refresh_counter)
        return Refreshed(self.signed(standing, origin, extra, key), refresh_token)

    async def _advance(self, tx: Transaction, presented: RefreshToken, identity: Identity) -> bool:
        """Count a refresh in one statement, so that of many at once exactly one is the first."""
        # A counter ahead of the row's is one that we signed: the database was put back from a backup since.
        return await store.sessions.advance(
            tx,
            presented.session_id,
            presented.counter,
            seen_at=self._clock.now(),
            address=identity.origin.address,
        )

    async def _end_reused(self, presented: RefreshToken, identity: Identity) -> NoReturn:
        async with self._database.transaction(account(identity.subject)) as tx:
            await self._sessions.end_session(tx, presented.session_id, Act.SESSION_REUSE, identity.origin)
        raise Unauthenticated(Reason.REFRESH_TOKEN_REUSED)

    def session_of(self, token: Secret) -> str | None:
        """Return the id of the session that a refresh token of ours names, or None for another text."""
        presented = self._refresh_tokens.read(token)
        return None if presented is None else presented.session_id


def _is_old(presented: RefreshToken, standing: Standing | None) -> bool:
    """Say whether a token was replaced by one that was replaced in turn: then two hold it."""
    return standing is not None and presented.counter < standing.refresh_counter - 1
