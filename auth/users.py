"""People: signing up, being looked at and administered, and changing one's password."""

import unicodedata
from dataclasses import dataclass, replace

import store.sessions
import store.users
from auth import scopes
from auth.alone import ADMINISTRATORS, account
from auth.audit import Act
from auth.faults import Fault, InputRefused
from auth.foundation import Foundation
from auth.identity import Identity
from auth.ids import is_id, new_id
from auth.labels import Email, read_display_name, read_email
from auth.origin import NOWHERE, Origin
from auth.passwords import Passwords
from auth.refusals import Conflict, Forbidden, NotFound, Overloaded, Reason, Unauthenticated
from auth.sessions import Sessions
from auth.throttles import Throttles
from store import Transaction
from store.users import UserRow

_LONGEST_SEARCH = 320  # no address and no name is longer


@dataclass(frozen=True, slots=True, repr=False)
class NewAccount:
    """What an account is made of, checked, with the password hashed; not yet in the store."""

    email: Email
    display_name: str
    password_hash: str
    roles: frozenset[str]


class Users:
    """Makes, finds, changes and disables accounts."""

    def __init__(self, foundation: Foundation, passwords: Passwords, throttles: Throttles, sessions: Sessions) -> None:
        self._database = foundation.database
        self._passwords = passwords
        self._throttles = throttles
        self._sessions = sessions
        self._audit = foundation.audit
        self._clock = foundation.clock

    async def sign_up(self, *, email: str, password: str, display_name: str, origin: Origin = NOWHERE) -> None:
        """Make an account, unless the address has one; whether it had is not told, and takes no other time.

        Raises `InputRefused`, `RateLimited`, `Overloaded` and `StoreUnavailable`.
        """
        account = await self.prepare(
            email=email, password=password, display_name=display_name, roles=frozenset({scopes.USER}), origin=origin
        )
        async with self._database.transaction() as tx:
            fresh = await self._insert(tx, account)
            user = await store.users.find_by_email(tx, account.email.key)
            act = Act.USER_CREATE if fresh else Act.USER_REPEAT
            await self._audit.record(tx, act, origin, concerning=user.id if user else None)
            if not fresh:
                # An answer that is given without a write to the disk comes a millisecond sooner, and would tell that
                # the address is taken. So the same rows are written here too, under a name that nobody can have,
                # and taken back before anybody sees them.
                decoy = Email(account.email.address, f" {new_id()}")
                await self._insert(tx, replace(account, email=decoy), decoy=True)

    async def create(
        self, *, email: str, password: str, display_name: str, roles: frozenset[str] = frozenset({scopes.USER})
    ) -> UserRow:
        """Make an account for somebody: what the operator does, who may know that an address is taken.

        Raises `InputRefused`, also with EMAIL_TAKEN, `Overloaded` and `StoreUnavailable`.
        """
        account = await self.prepare(email=email, password=password, display_name=display_name, roles=roles)
        async with self._database.transaction() as tx:
            return await self.insert(tx, account)

    async def prepare(
        self, *, email: str, password: str, display_name: str, roles: frozenset[str], origin: Origin | None = None
    ) -> NewAccount:
        """Check what an account is made of and hash its password.

        `origin` is where a stranger asks from, for whom the hash counts as a guess does; None is the operator. Raises
        `InputRefused` and `Overloaded`, for strangers also `RateLimited` and `StoreUnavailable`.
        """
        address, name = read_email(email), read_display_name(display_name)
        if origin is not None:
            self._passwords.require_room()
            await self._throttles.count_hash("sign_up", origin)
        password_hash = await self._passwords.hash_checked(password, about_its_owner=(address.address, name))
        return NewAccount(address, name, password_hash, roles)

    async def insert(self, tx: Transaction, account: NewAccount, origin: Origin = NOWHERE) -> UserRow:
        """Add an account within a transaction. Raises `InputRefused` with EMAIL_TAKEN."""
        if not await self._insert(tx, account):
            raise InputRefused(Fault.EMAIL_TAKEN)
        user = await store.users.find_by_email(tx, account.email.key)
        if user is None:
            raise NotFound("There is no such user.")
        await self._audit.record(tx, Act.USER_CREATE, origin, concerning=user.id, detail=_listed(account.roles))
        return user

    async def find(self, identity: Identity, user_id: str) -> UserRow | None:
        """Return a person the caller may see: themselves with `profile:read`, anybody with `users:read`."""
        wanted = {"users:read", "profile:read"} if user_id == identity.subject else {"users:read"}
        if identity.scopes.isdisjoint(wanted) or not is_id(user_id):
            return None
        return await store.users.find(self._database, user_id)

    async def page(self, identity: Identity, *, limit: int, after: str | None, search: str | None) -> list[UserRow]:
        """Return the people the caller may see, the newest first, whose address or name begins with `search`."""
        if "users:read" not in identity.scopes:
            return []
        prefix = unicodedata.normalize("NFC", search.strip()[:_LONGEST_SEARCH]).casefold() if search else None
        if prefix and "\0" in prefix:
            return []  # nobody's address or name has it, and PostgreSQL takes it for no text at all
        return await store.users.page(self._database, limit=limit, after=after, prefix=prefix or None)

    async def set_roles(self, identity: Identity, user_id: str, roles: frozenset[str]) -> UserRow:
        """Give a person these roles and no others; it counts from their next request on.

        Raises `NotFound`, and `Conflict` with LAST_ADMINISTRATOR.
        """
        async with self._database.transaction(ADMINISTRATORS, account(identity.subject), account(user_id)) as tx:
            identity = await self._sessions.reaffirm(tx, identity)
            user = await self._found(tx, identity, user_id)
            if scopes.ADMIN not in roles:
                await self._require_another_administrator(tx, user)
            await store.users.set_roles(tx, user.id, roles, self._clock.now())
            await self._audit.record(tx, Act.ROLES_SET, identity, concerning=user.id, detail=_listed(roles))
            return await self._found(tx, identity, user_id)

    async def disable(self, identity: Identity, user_id: str) -> UserRow:
        """Shut a person out at once: their sessions end in the same transaction and do not come back.

        Raises `NotFound`, and `Conflict` with LAST_ADMINISTRATOR.
        """
        async with self._database.transaction(ADMINISTRATORS, account(identity.subject), account(user_id)) as tx:
            identity = await self._sessions.reaffirm(tx, identity)
            user = await self._found(tx, identity, user_id)
            if user.disabled_at is None:
                await self._require_another_administrator(tx, user)
                await store.users.set_disabled(tx, user.id, self._clock.now())
                await store.sessions.revoke_all_of_user(tx, user.id, self._clock.now())
                await self._audit.record(tx, Act.USER_DISABLE, identity, concerning=user.id)
            return await self._found(tx, identity, user_id)

    async def enable(self, identity: Identity, user_id: str) -> UserRow:
        """Let a disabled person log in again. Raises `NotFound`."""
        async with self._database.transaction(account(identity.subject), account(user_id)) as tx:
            identity = await self._sessions.reaffirm(tx, identity)
            user = await self._found(tx, identity, user_id)
            if user.disabled_at is not None:
                await store.users.set_disabled(tx, user.id, None)
                await self._audit.record(tx, Act.USER_ENABLE, identity, concerning=user.id)
            return await self._found(tx, identity, user_id)

    async def change_password(self, identity: Identity, *, current: str, new: str) -> int:
        """Change the caller's password and end their other sessions, together; return how many ended.

        Raises `InputRefused`, also with CURRENT_PASSWORD_WRONG, `RateLimited`, `Overloaded` and `StoreUnavailable`.
        """
        user = await store.users.find(self._database, identity.subject) if identity.subject is not None else None
        if user is None:
            raise Unauthenticated(Reason.NOT_AUTHENTICATED)
        await self._require_password(user, current, identity.origin)
        new_hash = await self._passwords.hash_checked(new, about_its_owner=(user.email, user.display_name))
        now = self._clock.now()
        async with self._database.transaction(account(user.id)) as tx:
            identity = await self._sessions.reaffirm(tx, identity)
            if not await store.users.set_password(
                tx, user.id, expected=user.password_hash, new=new_hash, changed_at=now
            ):
                # Somebody changed it between the check and now: what was typed as current is so no more.
                raise InputRefused(Fault.CURRENT_PASSWORD_WRONG)
            await self._audit.record(tx, Act.PASSWORD_CHANGE, identity, concerning=user.id)
            return await store.sessions.revoke_all_of_user(tx, user.id, now, keep=identity.session_id)

    async def _require_password(self, user: UserRow, typed: str, origin: Origin) -> None:
        self._passwords.require_room()
        guess = await self._throttles.count_guess("change_password", origin, user_id=user.id)
        try:
            if not await self._passwords.verify(user.password_hash, typed):
                raise InputRefused(Fault.CURRENT_PASSWORD_WRONG)
        except Overloaded:
            await self._throttles.give_back_alone(guess)
            raise
        # At once: the new password may be refused, and be tried again in another form.
        await self._throttles.give_back_alone(guess)

    async def _insert(self, tx: Transaction, account: NewAccount, *, decoy: bool = False) -> bool:
        user_id = new_id()
        inserted = await store.users.insert_unless_taken(
            tx,
            user_id=user_id,
            email=account.email.address,
            email_key=account.email.key,
            display_name=account.display_name,
            password_hash=account.password_hash,
            roles=account.roles,
            now=self._clock.now(),
        )
        if decoy:
            await store.users.delete_user(tx, user_id)
        return inserted

    async def _found(self, tx: Transaction, identity: Identity, user_id: str) -> UserRow:
        # The guard at the door looked before the operation ran; this is the second lock, within the transaction.
        if "users:write" not in identity.scopes:
            raise Forbidden(Reason.INSUFFICIENT_SCOPE, required=["users:write"], granted=identity.scopes)
        user = await store.users.find(tx, user_id) if is_id(user_id) else None
        if user is None:
            raise NotFound("There is no such user.")
        return user

    async def _require_another_administrator(self, tx: Transaction, user: UserRow) -> None:
        counts = scopes.ADMIN in user.roles and user.disabled_at is None
        if counts and not await store.users.someone_has_role(tx, scopes.ADMIN, other_than=user.id):
            raise Conflict(Reason.LAST_ADMINISTRATOR)


def _listed(roles: frozenset[str]) -> str:
    return ", ".join(sorted(roles))
