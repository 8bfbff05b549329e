"""Sessions: the rows that decide, on every request, whether somebody is logged in. A JWT only names one."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import store.sessions
from auth.alone import account
from auth.audit import Act
from auth.foundation import Foundation
from auth.identity import Identity, IdentityKind
from auth.ids import is_id, new_id
from auth.origin import NOWHERE, Origin
from auth.refusals import NotFound, Reason, SigningKeyRevoked, Unauthenticated
from auth.secret import Secret, new_secret
from auth.tokens import Claims
from store import Transaction
from store.sessions import SessionRow, Standing
from store.tables import NO_ID
from store.users import UserRow


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What a browser leaves behind when it logs out, or in anew: whoever it was, and the secrets of sessions it showed.

    A secret is enough to end its session, even where it is not enough to be let in: beside a spoiled access token, or
    beside a second cookie of its name.
    """

    identity: Identity
    secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True)
class StartedSession:
    """A session that has just begun. Its secret is here and nowhere else: the store has the digest."""

    standing: Standing
    secret: Secret


class Sessions:
    """Starts, lists and ends sessions, and says whose they are."""

    def __init__(self, foundation: Foundation) -> None:
        self._database = foundation.database
        self._rights = foundation.rights
        self._policy = foundation.policy
        self._audit = foundation.audit
        self._clock = foundation.clock

    def foresee(self, user: UserRow, methods: tuple[str, ...], origin: Origin) -> Identity:
        """Return who a person will be in a session that is about to begin; `methods` are RFC 8176 values."""
        return Identity(
            kind=IdentityKind.USER,
            subject=user.id,
            session_id=new_id(),
            scopes=self._rights.of_roles(user.roles),
            roles=user.roles,
            authentication_methods=methods,
            authenticated_at=self._clock.now(),
            origin=origin,
        )

    async def start(self, tx: Transaction, foreseen: Identity, *, device_name: str | None) -> StartedSession:
        """Begin a session that was foreseen, in the transaction of the login that earned it."""
        now, secret, origin = self._clock.now(), new_secret(), foreseen.origin
        session = SessionRow(
            id=foreseen.session_id or new_id(),
            user_id=foreseen.subject or "",
            authentication_methods=foreseen.authentication_methods,
            authenticated_at=now,
            created_at=now,
            last_seen_at=now,
            expires_at=now + self._policy.session_lifetime,
            revoked_at=None,
            device_name=device_name,
            user_agent=origin.short_user_agent,
            address=origin.address,
        )
        await store.sessions.add(tx, session, secret_digest=secret.digest())
        standing = await store.sessions.standing(tx, session.id)
        identity = self.admit(standing, origin)
        await self._audit.record(tx, Act.SESSION_START, identity, concerning=session.user_id, what=session.id)
        if standing is None:
            raise Unauthenticated(Reason.SESSION_UNKNOWN)
        return StartedSession(standing, secret)

    async def identify(self, claims: Claims, origin: Origin, now: datetime) -> Identity:
        """Return the identity behind an access token, as the session's row has it now.

        Raises `Unauthenticated` when the session was ended or has expired, its owner is disabled, or the key was
        revoked; and `StoreUnavailable`.
        """
        standing = await store.sessions.standing_by_token(self._database, claims.session_id or "", claims.kid)
        if standing is not None and (standing.key_verifies_until is None or standing.key_verifies_until <= now):
            raise SigningKeyRevoked(claims.kid)
        identity = self.admit(standing, origin, now)
        if identity.subject != claims.subject:
            raise Unauthenticated(Reason.TOKEN_INVALID)
        return identity

    async def identify_holder(self, secret: Secret, origin: Origin, now: datetime) -> Identity:
        """Return the identity behind a session's secret, as `identify` does; nothing is renewed."""
        return self.admit(await store.sessions.standing_by_secret(self._database, secret.digest()), origin, now)

    async def reaffirm(self, tx: Transaction, identity: Identity) -> Identity:
        """Return the identity as its session's row has it within a transaction.

        An operation may run for a while, and wait for its turn, after it was let in: whoever was disabled or lost a
        role meanwhile must not undo that. The transaction is alone in the caller's account, so that this holds until
        it has been committed. Raises `Unauthenticated`.
        """
        standing = await store.sessions.standing(tx, identity.session_id) if identity.session_id else None
        return self.admit(standing, identity.origin)

    def admit(self, standing: Standing | None, origin: Origin = NOWHERE, now: datetime | None = None) -> Identity:
        """Turn a session's row into an identity: the one place where that happens. Raises `Unauthenticated`."""
        if standing is None:
            raise Unauthenticated(Reason.SESSION_UNKNOWN)
        if standing.revoked_at is not None:
            raise Unauthenticated(Reason.SESSION_REVOKED)
        if standing.user_disabled_at is not None:
            raise Unauthenticated(Reason.ACCOUNT_DISABLED)
        if not self._lives(standing, now or self._clock.now()):
            raise Unauthenticated(Reason.SESSION_EXPIRED)
        # In the order of its fields, which every request waits for: by their names it takes twice as long.
        return Identity(
            IdentityKind.USER,
            standing.user_id,
            standing.session_id,
            None,
            self._rights.of_roles(standing.roles),
            standing.roles,
            standing.authentication_methods,
            standing.authenticated_at,
            None,
            origin,
        )

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
        async with self._database.transaction(account(identity.subject)) as tx:
            identity = await self.reaffirm(tx, identity)
            session = await store.sessions.find(tx, session_id) if is_id(session_id) else None
            if session is None or not self._is_own_and_live(identity, session):
                raise NotFound("There is no such session.")
            await store.sessions.revoke(tx, session_id, self._clock.now())
            await self._audit.record(tx, Act.SESSION_REVOKE, identity, concerning=identity.subject, what=session_id)
            return session

    async def revoke_others(self, identity: Identity) -> int:
        """End every session of the caller but the one they call with; return how many ended."""
        async with self._database.transaction(account(identity.subject)) as tx:
            identity = await self.reaffirm(tx, identity)
            if identity.subject is None:
                return 0
            ended = await store.sessions.revoke_all_of_user(
                tx, identity.subject, self._clock.now(), keep=identity.session_id
            )
            await self._audit.record(
                tx, Act.SESSION_REVOKE, identity, concerning=identity.subject, detail=f"others: {ended}"
            )
            return ended

    async def end(self, outgoing: Outgoing) -> bool:
        """End what a browser leaves behind (log out); return False when there was no session to end."""
        left = await self.left_behind(outgoing)
        if not left:
            return False
        async with self._database.transaction(*map(account, left.values())) as tx:
            return await self.end_all(tx, left, outgoing.identity.origin)

    async def left_behind(self, outgoing: Outgoing) -> dict[str, str]:
        """Return the ids of the sessions that a browser leaves behind, each with its owner's: neither ever changes."""
        by = outgoing.identity
        left = {} if by.session_id is None else {by.session_id: by.subject or NO_ID}
        for secret in outgoing.secrets:
            standing = await store.sessions.standing_by_secret(self._database, secret.digest())
            if standing is not None:
                left[standing.session_id] = standing.user_id
        return left

    async def end_all(self, tx: Transaction, left: Iterable[str], origin: Origin) -> bool:
        """End sessions that were left behind, alone in their owners' accounts; False when all had ended before."""
        ended = False
        for session_id in left:
            ended = await self.end_session(tx, session_id, Act.SESSION_END, origin) or ended
        return ended

    async def end_shown(self, session_id: str, origin: Origin) -> None:
        """End a session, one of whose tokens was shown; that it had ended before is no error."""
        standing = await store.sessions.standing(self._database, session_id)
        async with self._database.transaction(account(standing.user_id if standing else None)) as tx:
            await self.end_session(tx, session_id, Act.SESSION_END, origin)

    async def end_session(self, tx: Transaction, session_id: str, act: Act, origin: Origin) -> bool:
        """End a session whose holder has shown that they hold it, and record it; False when it had ended before."""
        standing = await store.sessions.standing(tx, session_id)
        if standing is None or not await store.sessions.revoke(tx, session_id, self._clock.now()):
            return False
        # Who holds its secret is taken for its owner, unless it is seen that two hold it.
        holder = None if act is Act.SESSION_REUSE else standing.user_id
        by = Identity(IdentityKind.USER, holder, origin=origin)
        await self._audit.record(tx, act, by, concerning=standing.user_id, what=session_id)
        return True

    def _is_own_and_live(self, identity: Identity, session: SessionRow) -> bool:
        return (
            session.user_id == identity.subject
            and session.revoked_at is None
            and self._lives(session, self._clock.now())
        )

    def _lives(self, session: Standing | SessionRow, now: datetime) -> bool:
        return now < session.expires_at and now < session.last_seen_at + self._policy.session_idle_timeout
