"""Logging in: a password for a session."""

from dataclasses import dataclass

import store.users
from auth.alone import account
from auth.audit import Act
from auth.faults import InputRefused
from auth.foundation import Foundation
from auth.labels import read_email
from auth.origin import Origin
from auth.passwords import Passwords
from auth.refusals import Overloaded
from auth.renewal import Grant, Renewal
from auth.secret import Secret
from auth.sessions import Outgoing, Sessions
from auth.throttles import Throttles
from store import Transaction
from store.users import UserRow


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A session that has just begun, with all that its holder may be given: a browser one, a native client another."""

    grant: Grant
    secret: Secret
    refresh_token: Secret


class Login:
    """Starts a session for whoever knows an account's password."""

    def __init__(
        self, foundation: Foundation, passwords: Passwords, throttles: Throttles, sessions: Sessions, renewal: Renewal
    ) -> None:
        self._database = foundation.database
        self._passwords = passwords
        self._throttles = throttles
        self._sessions = sessions
        self._renewal = renewal
        self._audit = foundation.audit
        self._clock = foundation.clock

    async def log_in(
        self,
        email: str,
        password: str,
        origin: Origin,
        *,
        device_name: str | None = None,
        outgoing: Outgoing | None = None,
    ) -> LoggedIn | None:
        """Start a session, or return None: for a wrong password, an unknown address and a disabled account alike.

        All three cost one hash and are recorded. `outgoing` is what the same browser was logged in with until now: that
        ends in the same transaction (ASVS 7.2.4). Raises `RateLimited` when that is one guess too many, whether it was
        right or not; `Overloaded` and `StoreUnavailable`.
        """
        self._passwords.require_room()
        user, typed = await self._find(email)
        guess = await self._throttles.count_guess("login", origin, user_id=user.id if user else None, typed=typed)
        try:
            is_right = await self._passwords.verify(user.password_hash if user else None, password)
        except Overloaded:
            await self._throttles.give_back_alone(guess)
            raise
        if not is_right or user is None:
            await self._note_failure(user, origin)
            return None
        foreseen = self._sessions.foresee(user, ("pwd",), origin)
        extra = await self._renewal.prepare(foreseen)
        fresh_hash = await self._passwords.rehash(password) if self._passwords.is_outdated(user.password_hash) else None
        left = {} if outgoing is None else await self._sessions.left_behind(outgoing)
        accounts = map(account, {user.id, *left.values()})
        async with self._database.transaction(*accounts, *guess.alone_in) as tx:
            current = await store.users.find(tx, user.id)
            verified = current is not None and current.password_hash == user.password_hash
            started = None
            if current is not None and current.disabled_at is None:
                # It was right. Of a disabled account that is not told, and so must not be seen by guessing on either.
                await self._throttles.give_back(tx, guess)
            if verified and current is not None and current.disabled_at is None:
                if fresh_hash is not None:
                    await self._renew_hash(tx, user, fresh_hash)
                await self._sessions.end_all(tx, left, origin)
                started = await self._sessions.start(tx, foreseen, device_name=device_name)
                key = await self._renewal.key_for(tx)
        if started is not None:
            grant = self._renewal.signed(started.standing, origin, extra, key)
            return LoggedIn(grant, started.secret, self._renewal.first_refresh_token(started.standing))
        if current is None or current.disabled_at is not None:
            await self._note_failure(user, origin)
            return None
        # Since it was verified, the hash was replaced: by a change of password, or by another login that renewed it.
        return await self.log_in(email, password, origin, device_name=device_name, outgoing=outgoing)

    async def _note_failure(self, user: UserRow | None, origin: Origin) -> None:
        await self._audit.record_alone(Act.LOGIN_FAIL, origin, concerning=user.id if user else None)

    async def _renew_hash(self, tx: Transaction, user: UserRow, fresh_hash: str) -> None:
        # The password is what it was: only its hash has today's parameters.
        await store.users.set_password(
            tx, user.id, expected=user.password_hash, new=fresh_hash, changed_at=user.password_changed_at
        )

    async def _find(self, email: str) -> tuple[UserRow | None, str]:
        """Return the person with this address, and the address as all of its spellings are counted."""
        try:
            key = read_email(email).key
        except InputRefused:
            return None, email.strip().casefold()
        return await store.users.find_by_email(self._database, key), key
