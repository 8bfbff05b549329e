"""API tokens: long-lived JWTs that a person downloads for their scripts. The row says whether one is still good."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import store.api_tokens
from auth import tokens
from auth.alone import THE_KEYS, account
from auth.audit import Act
from auth.faults import Fault, InputRefused
from auth.foundation import Foundation
from auth.identity import Identity, IdentityKind
from auth.ids import is_id, new_id
from auth.key_ring import KeyRing
from auth.labels import read_token_name
from auth.origin import Origin
from auth.refusals import NotFound, Reason, SigningKeyRevoked, Unauthenticated
from auth.secret import Secret
from auth.sessions import Sessions
from auth.terms import LONGEST_LIFE, expiry, require_held
from auth.tokens import Claims, TokenKind
from store import StoreUnavailable
from store.api_tokens import ApiTokenRow, ApiTokenStanding

USUAL_LIFE = timedelta(days=90)
MOST_TOKENS = 50  # live ones of one person: more is a script that makes them and forgets them

# "Last used" is kept to the minute: a script that calls without pause writes it once.
_USED_RECENTLY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class MadeApiToken:
    """A token that was just made. Its text is here and nowhere else."""

    row: ApiTokenRow
    token: Secret


class ApiTokens:
    """Makes, lists and revokes API tokens, and says whose they are."""

    def __init__(self, foundation: Foundation, sessions: Sessions, key_ring: KeyRing) -> None:
        self._database = foundation.database
        self._sessions = sessions
        self._key_ring = key_ring
        self._being_noted: set[str] = set()
        self._rights = foundation.rights
        self._policy = foundation.policy
        self._audit = foundation.audit
        self._clock = foundation.clock

    async def create(
        self, identity: Identity, *, name: str, scopes: Iterable[str], expires_at: datetime | None = None
    ) -> MadeApiToken:
        """Make a token of the caller's, for scopes they hold; it expires after 90 days if nothing else is said.

        Raises `InputRefused` with TOKEN_NAME_INVALID, SCOPES_MISSING, SCOPES_NOT_HELD, EXPIRY_INVALID or TOO_MANY, and
        `Unauthenticated` and `StoreUnavailable`.
        """
        name, wanted, now = read_token_name(name), frozenset(scopes), self._clock.now()
        expires_at = expiry(expires_at, now, usual=USUAL_LIFE, longest=LONGEST_LIFE)
        now = now.replace(microsecond=0)  # as rows keep it, so that who made a token sees what the list shows
        async with self._database.transaction(account(identity.subject), THE_KEYS) as tx:
            identity = await self._sessions.reaffirm(tx, identity)
            require_held(wanted, identity.scopes)
            if identity.subject is None:
                raise Unauthenticated(Reason.NOT_AUTHENTICATED)
            if await store.api_tokens.count_of_user(tx, identity.subject, now) >= MOST_TOKENS:
                raise InputRefused(Fault.TOO_MANY)
            row = ApiTokenRow(new_id(), identity.subject, name, wanted, now, expires_at)
            await store.api_tokens.add(tx, row)
            # Chosen where nobody else decides about keys, so that one which is revoked meanwhile is not the one that
            # signs, and one whose place is taken meanwhile is kept for as long as this token lives.
            key = await self._key_ring.signing_key(tx)
            await self._key_ring.keep_until(tx, key, expires_at)
            await self._audit.record(
                tx,
                Act.API_TOKEN_CREATE,
                identity,
                concerning=identity.subject,
                what=row.id,
                detail=" ".join(sorted(wanted)),
            )
        claims = Claims(
            kind=TokenKind.API,
            subject=row.user_id,
            token_id=row.id,
            scopes=row.scopes,
            issued_at=now,
            expires_at=expires_at,
        )
        return MadeApiToken(row, tokens.issue(claims, key, issuer=self._policy.issuer))

    async def identify(self, claims: Claims, origin: Origin, *, is_use: bool) -> Identity:
        """Return the identity behind an API token: the owner, with those of its scopes that the owner holds now.

        A use is written down; that somebody asks what the token is worth is none. Raises `Unauthenticated` when it was
        revoked or its owner is disabled, and `StoreUnavailable`.
        """
        standing = await store.api_tokens.standing(self._database, claims.token_id, claims.kid)
        identity = self._admit(standing, claims, origin)
        if is_use:
            await self._note_use(standing, claims.token_id, origin)
        return identity

    async def find(self, identity: Identity, token_id: str) -> ApiTokenRow | None:
        """Return the caller's own token with this id, if it is theirs and good."""
        row = await store.api_tokens.find(self._database, token_id) if is_id(token_id) else None
        return row if row is not None and self._is_own_and_live(identity, row) else None

    async def page(self, identity: Identity, *, limit: int, after: str | None) -> list[ApiTokenRow]:
        """Return the caller's tokens that are good, the newest first, older than the id `after`."""
        if identity.subject is None:
            return []
        return await store.api_tokens.page_of_user(
            self._database, identity.subject, now=self._clock.now(), limit=limit, after=after
        )

    async def revoke(self, identity: Identity, token_id: str) -> ApiTokenRow:
        """Revoke one of the caller's tokens, at once. Raises `NotFound` when it is not theirs or not good any more."""
        async with self._database.transaction(account(identity.subject)) as tx:
            identity = await self._sessions.reaffirm(tx, identity)
            row = await store.api_tokens.find(tx, token_id) if is_id(token_id) else None
            if row is None or not self._is_own_and_live(identity, row):
                raise NotFound("There is no such API token.")
            await store.api_tokens.revoke(tx, token_id, self._clock.now())
            await self._audit.record(tx, Act.API_TOKEN_REVOKE, identity, concerning=row.user_id, what=row.id)
            return row

    async def revoke_presented(self, claims: Claims, origin: Origin) -> None:
        """Revoke a token whose holder has shown it."""
        async with self._database.transaction() as tx:
            if await store.api_tokens.revoke(tx, claims.token_id, self._clock.now()):
                await self._audit.record(
                    tx, Act.API_TOKEN_REVOKE, origin, concerning=claims.subject, what=claims.token_id
                )

    def _admit(self, standing: ApiTokenStanding | None, claims: Claims, origin: Origin) -> Identity:
        if standing is None or standing.user_id != claims.subject:
            raise Unauthenticated(Reason.TOKEN_INVALID)
        now = self._clock.now()
        if standing.key_verifies_until is None or standing.key_verifies_until <= now:
            raise SigningKeyRevoked(claims.kid)
        if standing.revoked_at is not None:
            raise Unauthenticated(Reason.TOKEN_REVOKED)
        if standing.user_disabled_at is not None:
            raise Unauthenticated(Reason.ACCOUNT_DISABLED)
        if standing.expires_at <= now:
            raise Unauthenticated(Reason.TOKEN_EXPIRED)
        return Identity(
            kind=IdentityKind.USER,
            subject=standing.user_id,
            token_id=claims.token_id,
            scopes=self._rights.of_roles(standing.roles) & standing.scopes,
            origin=origin,
        )

    async def _note_use(self, standing: ApiTokenStanding | None, token_id: str, origin: Origin) -> None:
        now = self._clock.now()
        if standing is None or (standing.last_used_at is not None and now - standing.last_used_at < _USED_RECENTLY):
            return
        if token_id in self._being_noted:
            return  # of many requests at once, one writes
        self._being_noted.add(token_id)
        try:
            # Not to be able to write it down is no reason to refuse the token.
            with suppress(StoreUnavailable):
                async with self._database.transaction() as tx:
                    await store.api_tokens.touch(tx, token_id, used_at=now, address=origin.address)
        finally:
            self._being_noted.discard(token_id)

    def _is_own_and_live(self, identity: Identity, row: ApiTokenRow) -> bool:
        return row.user_id == identity.subject and row.revoked_at is None and self._clock.now() < row.expires_at
