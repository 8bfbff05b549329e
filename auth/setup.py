"""The first administrator: made with a one-time token that only whoever started the server has seen."""

from datetime import timedelta

import store.setup_tokens
import store.users
from auth import scopes
from auth.alone import ADMINISTRATORS
from auth.clock import Clock
from auth.faults import Fault, InputRefused
from auth.origin import NOWHERE, Origin
from auth.secret import Secret, new_secret
from auth.users import Users
from store import Database
from store.users import UserRow

SETUP_TOKEN_LIFETIME = timedelta(hours=1)


class Setup:
    """Issues the setup token and takes it in. Nobody becomes an administrator by being the first to sign up."""

    def __init__(self, database: Database, users: Users, clock: Clock) -> None:
        self._database = database
        self._users = users
        self._clock = clock

    async def issue(self) -> Secret | None:
        """Make a setup token, which replaces the one before; None when there is an enabled administrator."""
        token = new_secret()
        async with self._database.transaction(ADMINISTRATORS) as tx:
            if await store.users.someone_has_role(tx, scopes.ADMIN):
                return None
            expires_at = self._clock.now() + SETUP_TOKEN_LIFETIME
            await store.setup_tokens.replace(tx, digest=token.digest(), expires_at=expires_at)
        return token

    async def create_first_administrator(
        self, token: Secret, *, email: str, password: str, display_name: str, origin: Origin = NOWHERE
    ) -> UserRow:
        """Make an administrator and use the token up, together or not at all.

        Raises `InputRefused`, also with SETUP_TOKEN_INVALID and EMAIL_TAKEN, `RateLimited`, `Overloaded` and
        `StoreUnavailable`.
        """
        account = await self._users.prepare(
            email=email,
            password=password,
            display_name=display_name,
            roles=frozenset({scopes.USER, scopes.ADMIN}),
            origin=origin,
        )
        async with self._database.transaction(ADMINISTRATORS) as tx:
            valid = await store.setup_tokens.consume(tx, digest=token.digest(), now=self._clock.now())
            if not valid or await store.users.someone_has_role(tx, scopes.ADMIN):
                raise InputRefused(Fault.SETUP_TOKEN_INVALID)
            return await self._users.insert(tx, account, origin)
