"""Logging in: a password for a session."""

import store.users
from auth.clock import Clock
from auth.faults import InputRefused
from auth.labels import read_email
from auth.passwords import Passwords
from auth.sessions import Device, Outgoing, Sessions, StartedSession
from store import Database, Transaction
from store.users import UserRow


class Login:
    """Starts a session for whoever knows an account's password."""

    def __init__(self, database: Database, passwords: Passwords, sessions: Sessions, clock: Clock) -> None:
        self._database = database
        self._passwords = passwords
        self._sessions = sessions
        self._clock = clock

    async def log_in(
        self, email: str, password: str, device: Device, *, outgoing: Outgoing | None = None
    ) -> StartedSession | None:
        """Start a session, or return None: for a wrong password, an unknown address and a disabled account alike.

        All three cost one hash. `outgoing` is what the same browser was logged in with until now: that ends in the
        same transaction (ASVS 7.2.4). Raises `Overloaded` and `StoreUnavailable`.
        """
        user = await self._find(email)
        if not await self._passwords.verify(user.password_hash if user else None, password) or user is None:
            return None
        fresh_hash = await self._passwords.rehash(password) if self._passwords.is_outdated(user.password_hash) else None
        async with self._database.transaction() as tx:
            current = await store.users.find(tx, user.id)
            if current is None or current.disabled_at is not None:
                return None
            if current.password_hash == user.password_hash:
                if fresh_hash is not None:
                    await self._renew_hash(tx, user, fresh_hash)
                if outgoing is not None:
                    await self._sessions.end_within(tx, outgoing)
                return await self._sessions.start(tx, user.id, ("pwd",), device)
        # Since it was verified, the hash was replaced: by a change of password, or by another login that renewed it.
        return await self.log_in(email, password, device, outgoing=outgoing)

    async def _renew_hash(self, tx: Transaction, user: UserRow, fresh_hash: str) -> None:
        # The password is what it was: only its hash has today's parameters.
        await store.users.set_password(
            tx, user.id, expected=user.password_hash, new=fresh_hash, changed_at=user.password_changed_at
        )

    async def _find(self, email: str) -> UserRow | None:
        try:
            key = read_email(email).key
        except InputRefused:
            return None
        return await store.users.find_by_email(self._database, key)
