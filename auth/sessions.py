"""Sessions: the rows that decide, on every request, whether somebody is logged in. A JWT only names one."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import store.sessions
from auth.clock import Clock
from auth.identity import Identity, IdentityKind
from auth.ids import is_id, new_id
from auth.key_ring import KeyRing
from auth.policy import Policy
from auth.refusals import NotFound, Reason, Unauthenticated
from auth.scopes import Rights
from auth.secret import Secret, new_secret
from auth.tokens import AccessClaims, issue_access_token
from store import Database, StoreUnavailable, Transaction
from store.sessions import SessionRow, Standing

# A browser with ten tabs renews ten times at once; one of them writes "last seen".
_SEEN_RECENTLY = timedelta(minutes=1)

_LONGEST_USER_AGENT = 400


@dataclass(frozen=True, slots=True)
class Device:
    """Where somebody calls from, as far as it is known; `user_agent` is what the client says of itself."""

    name: str | None = None
    user_agent: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What a browser leaves behind when it logs out, or in anew: whoever it was, and the secrets of sessions it showed.

    A secret is enough to end its session, even where it is not enough to be let in: beside a spoiled access token, or
    beside a second cookie of its name.
    """

    identity: Identity
    secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """An access token for a session, fresh, with the identity that it stands for."""

    identity: Identity
    access_token: Secret
    access_expires_at: datetime
    session_expires_at: datetime


@dataclass(frozen=True, slots=True)
class StartedSession:
    """A session that has just begun. Its secret is here and nowhere else: the store has the digest."""

    grant: Grant
    secret: Secret


class Sessions:
    """Starts, renews, lists and ends sessions."""

    def __init__(self, database: Database, key_ring: KeyRing, rights: Rights, policy: Policy, clock: Clock) -> None:
        self._database = database
        self._key_ring = key_ring
        self._rights = rights
        self._policy = policy
        self._clock = clock

    async def start(self, tx: Transaction, user_id: str, methods: tuple[str, ...], device: Device) -> StartedSession:
        """Begin a session, in the transaction of the login that earned it; `methods` are RFC 8176 values."""
        now, secret = self._clock.now(), new_secret()
        session = SessionRow(
            id=new_id(),
            user_id=user_id,
            authentication_methods=methods,
            authenticated_at=now,
            created_at=now,
            last_seen_at=now,
            expires_at=now + self._policy.session_lifetime,
            revoked_at=None,
            device_name=device.name,
            user_agent=device.user_agent[:_LONGEST_USER_AGENT] if device.user_agent else None,
            address=device.address,
        )
        await store.sessions.add(tx, session, secret_digest=secret.digest())
        standing = await store.sessions.standing(tx, session.id)
        return StartedSession(self._grant(standing), secret)

    async def renew(self, secret: Secret, device: Device) -> Grant:
        """Give a new access token for the session that has this secret.

        Raises `Unauthenticated` when there is none that lives, and `StoreUnavailable`.
        """
        standing = await store.sessions.standing_by_secret(self._database, secret.digest())
        grant = self._grant(standing)
        if standing is not None and self._clock.now() - standing.last_seen_at >= _SEEN_RECENTLY:
            # Not to be able to write down when somebody was seen is no reason to keep them out.
            with suppress(StoreUnavailable):
                async with self._database.transaction() as tx:
                    await store.sessions.touch(
                        tx, standing.session_id, seen_at=self._clock.now(), address=device.address
                    )
        return grant

    async def identify(self, claims: AccessClaims) -> Identity:
        """Return the identity behind an access token, as the session's row has it now.

        Raises `Unauthenticated` when the session was ended or has expired, or its owner is disabled; and
        `StoreUnavailable`.
        """
        identity = self._admit(await store.sessions.standing(self._database, claims.session_id))
        if identity.subject != claims.subject:
            raise Unauthenticated(Reason.TOKEN_INVALID)
        return identity

    async def reaffirm(self, tx: Transaction, identity: Identity) -> Identity:
        """Return the identity as its session's row has it within a transaction.

        An operation may run for a while, and wait for the write lock, after it was let in: whoever was disabled or
        lost a role meanwhile must not undo that. Raises `Unauthenticated`.
        """
        return self._admit(await store.sessions.standing(tx, identity.session_id) if identity.session_id else None)

    async def find(self, identity: Identity, session_id: str) -> SessionRow | None:
        """Return the caller's own session with this id, if it is theirs and lives."""
        session = await store.sessions.find(self._database, session_id) if is_id(session_id) else None
        return session if session is not None and self._is_own_and_live(identity, session) else None

    async def page(self, identity: Identity, *, limit: int, after: str | None) -> list[SessionRow]:
        """Return the caller's live sessions, the newest first, older than the id `after`."""
        if identity.subject is None:
            return []
        now = self._clock.now()
        return await store.sessions.page_of_user(
            self._database,
            identity.subject,
            now=now,
            seen_after=now - self._policy.session_idle_timeout,
            limit=limit,
            after=after,
        )

    async def revoke(self, identity: Identity, session_id: str) -> SessionRow:
        """End one of the caller's sessions, at once. Raises `NotFound` when it is not theirs or has ended."""
        async with self._database.transaction() as tx:
            identity = await self.reaffirm(tx, identity)
            session = await store.sessions.find(tx, session_id) if is_id(session_id) else None
            if session is None or not self._is_own_and_live(identity, session):
                raise NotFound("There is no such session.")
            await store.sessions.revoke(tx, session_id, self._clock.now())
            return session

    async def revoke_others(self, identity: Identity) -> int:
        """End every session of the caller but the one they call with; return how many ended."""
        async with self._database.transaction() as tx:
            identity = await self.reaffirm(tx, identity)
            if identity.subject is None:
                return 0
            return await store.sessions.revoke_all_of_user(
                tx, identity.subject, self._clock.now(), keep=identity.session_id
            )

    async def end(self, outgoing: Outgoing) -> bool:
        """End what a browser leaves behind (log out); return False when there was no session to end."""
        if outgoing.identity.session_id is None and not outgoing.secrets:
            return False
        async with self._database.transaction() as tx:
            return await self.end_within(tx, outgoing)

    async def end_within(self, tx: Transaction, outgoing: Outgoing) -> bool:
        """Do as `end` does, in a transaction under way."""
        now, ended = self._clock.now(), False
        if outgoing.identity.session_id is not None:
            ended = await store.sessions.revoke(tx, outgoing.identity.session_id, now)
        for secret in outgoing.secrets:
            ended = await store.sessions.revoke_by_secret(tx, secret.digest(), now) or ended
        return ended

    def _grant(self, standing: Standing | None) -> Grant:
        identity = self._admit(standing)
        if standing is None or identity.session_id is None or identity.subject is None:
            raise Unauthenticated(Reason.SESSION_UNKNOWN)
        now = self._clock.now()
        expires_at = min(now + self._policy.access_token_lifetime, standing.expires_at)
        claims = AccessClaims(
            subject=identity.subject,
            session_id=identity.session_id,
            scopes=identity.scopes,
            authentication_methods=identity.authentication_methods,
            authenticated_at=standing.authenticated_at,
            issued_at=now,
            expires_at=expires_at,
        )
        token = issue_access_token(claims, self._key_ring.current, issuer=self._policy.issuer)
        return Grant(identity, token, expires_at, standing.expires_at)

    def _admit(self, standing: Standing | None) -> Identity:
        """Turn a session's row into an identity: the one place where that happens. Raises `Unauthenticated`."""
        if standing is None:
            raise Unauthenticated(Reason.SESSION_UNKNOWN)
        if standing.revoked_at is not None:
            raise Unauthenticated(Reason.SESSION_REVOKED)
        if standing.user_disabled_at is not None:
            raise Unauthenticated(Reason.ACCOUNT_DISABLED)
        if not self._lives(standing):
            raise Unauthenticated(Reason.SESSION_EXPIRED)
        return Identity(
            kind=IdentityKind.USER,
            subject=standing.user_id,
            session_id=standing.session_id,
            scopes=self._rights.of_roles(standing.roles),
            roles=standing.roles,
            authentication_methods=standing.authentication_methods,
            authenticated_at=standing.authenticated_at,
        )

    def _is_own_and_live(self, identity: Identity, session: SessionRow) -> bool:
        return session.user_id == identity.subject and session.revoked_at is None and self._lives(session)

    def _lives(self, session: Standing | SessionRow) -> bool:
        now = self._clock.now()
        return now < session.expires_at and now < session.last_seen_at + self._policy.session_idle_timeout
