"""Service accounts: programs that call in their own name, with secrets and keys of which several are good at a time."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import store.service_accounts
import store.service_credentials
import store.signing_keys
from auth import keys
from auth.alone import account as the_account
from auth.audit import Act
from auth.faults import Fault, InputRefused
from auth.foundation import Foundation
from auth.identity import Identity
from auth.ids import is_id, new_id
from auth.key_files import key_file
from auth.keys import KeyIsPrivate, KeyRefused, SigningKey
from auth.labels import read_service_name
from auth.refusals import Forbidden, NotFound, Reason
from auth.secret import Secret, new_secret
from auth.sessions import Sessions
from auth.terms import LONGEST_LIFE, expiry, require_held
from store import Transaction
from store.service_accounts import ServiceAccountRow
from store.service_credentials import ServiceCredentialRow

SECRET = "secret"  # noqa: S105 - the kinds of credential, as rows name them
KEY_FILE = "key_file"
PUBLIC_KEY = "public_key"

MOST_ACCOUNTS = 50  # of one person
MOST_CREDENTIALS = 10  # of one account: two to rotate with, and some for those who forget
_LONGEST_PUBLIC_KEY = 8_000


@dataclass(frozen=True, slots=True)
class MadeCredential:
    """A credential that was just made. What proves it, a secret or a key file, is here and nowhere else."""

    account: ServiceAccountRow
    credential: ServiceCredentialRow
    shown_once: Secret | None = None


class ServiceAccounts:
    """Makes, lists and disables service accounts, and gives and takes what they prove themselves with."""

    def __init__(self, foundation: Foundation, sessions: Sessions) -> None:
        self._database = foundation.database
        self._sessions = sessions
        self._policy = foundation.policy
        self._audit = foundation.audit
        self._clock = foundation.clock

    async def create(
        self, identity: Identity, *, name: str, scopes: Iterable[str], of_installation: bool = False
    ) -> ServiceAccountRow:
        """Make an account: the caller's, which never may more than they, or with `services:write` the installation's.

        Raises `InputRefused` with SERVICE_NAME_INVALID, SCOPES_MISSING, SCOPES_NOT_HELD or TOO_MANY, `Forbidden`,
        `Unauthenticated` and `StoreUnavailable`.
        """
        name, wanted = read_service_name(name), frozenset(scopes)
        async with self._database.transaction(the_account(identity.subject)) as tx:
            identity = await self._sessions.reaffirm(tx, identity)
            require_held(wanted, identity.scopes)
            if of_installation:
                _require_to_administer(identity)
            elif await store.service_accounts.count_of_owner(tx, identity.subject or "") >= MOST_ACCOUNTS:
                raise InputRefused(Fault.TOO_MANY)
            owner_id = None if of_installation else identity.subject
            row = ServiceAccountRow(new_id(), owner_id, name, wanted, self._now())
            await store.service_accounts.add(tx, row)
            await self._record(tx, Act.SERVICE_CREATE, identity, row, detail=" ".join(sorted(wanted)))
            return row

    async def find(self, identity: Identity, account_id: str) -> ServiceAccountRow | None:
        """Return an account that the caller may see."""
        row = await store.service_accounts.find(self._database, account_id) if is_id(account_id) else None
        return row if row is not None and _may_see(identity, row) else None

    async def page(self, identity: Identity, *, limit: int, after: str | None) -> list[ServiceAccountRow]:
        """Return the caller's accounts, the newest first, older than the id `after`."""
        if identity.subject is None:
            return []
        return await store.service_accounts.page(self._database, owner_id=identity.subject, limit=limit, after=after)

    async def page_of_all(self, identity: Identity, *, limit: int, after: str | None) -> list[ServiceAccountRow]:
        """Return everybody's accounts and the installation's, for a caller with `services:write`."""
        if "services:write" not in identity.scopes:
            return []
        return await store.service_accounts.page(self._database, owner_id=None, limit=limit, after=after)

    async def credentials(self, account: ServiceAccountRow) -> list[ServiceCredentialRow]:
        """Return the good credentials of an account that the caller was shown, the newest first."""
        if account.disabled_at is not None:
            return []
        return await store.service_credentials.all_of_account(self._database, account.id, self._clock.now())

    async def find_credential(self, identity: Identity, credential_id: str) -> ServiceCredentialRow | None:
        """Return a good credential of an account that the caller may see."""
        found = await store.service_credentials.find(self._database, credential_id) if is_id(credential_id) else None
        account = await self.find(identity, found.account_id) if found is not None else None
        if account is None:
            return None
        return next((row for row in await self.credentials(account) if row.id == credential_id), None)

    async def create_secret(
        self, identity: Identity, account_id: str, *, expires_at: datetime | None = None
    ) -> MadeCredential:
        """Give an account one more secret, without an end if none is said.

        Raises `InputRefused` with EXPIRY_INVALID or TOO_MANY, `NotFound`, `Unauthenticated` and `StoreUnavailable`.
        """
        secret = new_secret()
        return await self._give(identity, account_id, SECRET, expires_at, secret=secret)

    async def create_key_file(
        self, identity: Identity, account_id: str, *, expires_at: datetime | None = None
    ) -> MadeCredential:
        """Make a key pair for an account; the private half is in the file that is returned, and stored nowhere.

        Raises as `create_secret` does.
        """
        await self._require_room(identity, account_id)
        # RSA, for that is what the libraries that read the file sign with. Making one takes long enough to be noticed.
        key = await asyncio.to_thread(keys.generate, keys.RS256)
        return await self._give(identity, account_id, KEY_FILE, expires_at, key=key)

    async def add_public_key(
        self, identity: Identity, account_id: str, public_key: str, *, expires_at: datetime | None = None
    ) -> MadeCredential:
        """Register the public half of a key that the account's program keeps; the private half is never seen here.

        Raises as `create_secret` does, and `InputRefused` with PUBLIC_KEY_INVALID, PUBLIC_KEY_IS_PRIVATE
        or PUBLIC_KEY_KNOWN.
        """
        try:
            key = keys.read_public_key(public_key if len(public_key) <= _LONGEST_PUBLIC_KEY else "")
        except KeyIsPrivate as error:
            raise InputRefused(Fault.PUBLIC_KEY_IS_PRIVATE) from error
        except KeyRefused as error:
            raise InputRefused(Fault.PUBLIC_KEY_INVALID) from error
        return await self._give(identity, account_id, PUBLIC_KEY, expires_at, key=key)

    async def revoke_credential(self, identity: Identity, credential_id: str) -> ServiceAccountRow:
        """Take a secret or a key away, and every token that was given for it, at once. Raises `NotFound`."""
        async with self._database.transaction(the_account(identity.subject)) as tx:
            identity = await self._sessions.reaffirm(tx, identity)
            found = await store.service_credentials.find(tx, credential_id) if is_id(credential_id) else None
            if found is None:
                raise NotFound("There is no such credential.")
            account = await self._changeable(tx, identity, found.account_id)
            if not await store.service_credentials.revoke(tx, credential_id, self._clock.now()):
                raise NotFound("There is no such credential.")
            await self._record(tx, Act.CREDENTIAL_REVOKE, identity, account, what=credential_id, detail=found.kind)
            return account

    async def disable(self, identity: Identity, account_id: str) -> ServiceAccountRow:
        """Disable an account for good: its tokens, secrets and keys end at once. Raises `NotFound`."""
        async with self._database.transaction(the_account(identity.subject), the_account(account_id)) as tx:
            identity = await self._sessions.reaffirm(tx, identity)
            account = await self._changeable(tx, identity, account_id)
            if await store.service_accounts.disable(tx, account_id, self._clock.now()):
                await self._record(tx, Act.SERVICE_DISABLE, identity, account)
            return await self._changeable(tx, identity, account_id)

    async def _require_room(self, identity: Identity, account_id: str) -> None:
        """Find out before the work what would refuse it after: nobody has a key made for nothing."""
        account = await self.find(identity, account_id)
        if account is None or account.disabled_at is not None:
            raise NotFound("There is no such service account of yours, or it is disabled.")
        count = await store.service_credentials.count_of_account(self._database, account_id, self._clock.now())
        if count >= MOST_CREDENTIALS:
            raise InputRefused(Fault.TOO_MANY)

    async def _give(
        self,
        identity: Identity,
        account_id: str,
        kind: str,
        expires_at: datetime | None,
        *,
        secret: Secret | None = None,
        key: SigningKey | None = None,
    ) -> MadeCredential:
        now = self._now()
        if expires_at is not None:
            expires_at = expiry(expires_at, self._clock.now(), usual=LONGEST_LIFE, longest=LONGEST_LIFE)
        row = ServiceCredentialRow(
            id=new_id(),
            account_id=account_id,
            kind=kind,
            kid=key.kid if key else None,
            algorithm=key.algorithm if key else None,
            public_jwk=key.public_jwk() if key else None,
            created_at=now,
            expires_at=expires_at,
        )
        async with self._database.transaction(the_account(identity.subject), the_account(account_id)) as tx:
            identity = await self._sessions.reaffirm(tx, identity)
            account = await self._changeable(tx, identity, account_id)
            if account.disabled_at is not None or account.owner_id not in {None, identity.subject}:
                # Not even an administrator is given what somebody else's program proves itself with.
                raise NotFound("There is no such service account of yours, or it is disabled.")
            if await store.service_credentials.count_of_account(tx, account_id, now) >= MOST_CREDENTIALS:
                raise InputRefused(Fault.TOO_MANY)
            if row.kid is not None:
                await self._require_other_key(tx, account_id, row.kid)
            await store.service_credentials.add(tx, row, secret_digest=secret.digest() if secret else None)
            await self._record(tx, Act.CREDENTIAL_CREATE, identity, account, what=row.id, detail=kind)
        if key is not None and kind == KEY_FILE:
            secret = Secret(key_file(account_id, key, issuer=self._policy.issuer))
        return MadeCredential(account, row, secret)

    def _now(self) -> datetime:
        return self._clock.now().replace(microsecond=0)  # as rows keep it, so that who made one sees what others see

    async def _require_other_key(self, tx: Transaction, account_id: str, kid: str) -> None:
        if kid in {key.kid for key in await store.signing_keys.load_all(tx)}:
            # Published for all to read: as a client's key, what we sign would be that client's assertions.
            raise InputRefused(Fault.PUBLIC_KEY_INVALID)
        if await store.service_credentials.knows_key(tx, account_id, kid):
            raise InputRefused(Fault.PUBLIC_KEY_KNOWN)

    async def _changeable(self, tx: Transaction, identity: Identity, account_id: str) -> ServiceAccountRow:
        """Return an account that the caller may change: their own, or with `services:write` anybody's."""
        account = await store.service_accounts.find(tx, account_id) if is_id(account_id) else None
        if account is None or not _may_see(identity, account):
            raise NotFound("There is no such service account.")
        return account

    async def _record(
        self, tx: Transaction, act: Act, identity: Identity, account: ServiceAccountRow, **more: str | None
    ) -> None:
        concerning = account.owner_id or account.id
        await self._audit.record(tx, act, identity, concerning=concerning, **{"what": account.id, **more})


def _may_see(identity: Identity, account: ServiceAccountRow) -> bool:
    own = account.owner_id is not None and account.owner_id == identity.subject
    return own or account.id == identity.subject or "services:write" in identity.scopes


def _require_to_administer(identity: Identity) -> None:
    if "services:write" not in identity.scopes:
        raise Forbidden(Reason.INSUFFICIENT_SCOPE, required=["services:write"], granted=identity.scopes)
