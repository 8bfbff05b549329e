"""Service accounts at the door: who presents a secret or an assertion (RFC 6749 §2.3, RFC 7523)."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

import structlog

import store.service_accounts
import store.service_assertions
import store.service_credentials
import store.token_revocations
from auth import keys
from auth.assertions import Assertion, UnverifiedAssertion
from auth.audit import Act
from auth.foundation import Foundation
from auth.identity import Identity
from auth.ids import is_id, new_id
from auth.jws import JwsRefused
from auth.key_files import TOKEN_PATH, service_address
from auth.keys import SigningKey
from auth.oauth_refusals import OAuthFault, OAuthRefused
from auth.origin import Origin
from auth.secret import Secret
from auth.service_accounts import KEY_FILE
from auth.service_standing import is_disabled, scopes_of, service_identity
from auth.throttles import Throttles
from store import StoreUnavailable
from store.service_credentials import ServiceCredentialRow

# What Google's libraries write as the audience of every assertion, whatever `token_uri` says. It is taken for keys that
# came in a key file of ours: those sign for nobody else, so that no assertion for another can be brought here.
_GOOGLE_TOKEN_ENDPOINT = "https://oauth2.googleapis.com/token"  # noqa: S105

_log = structlog.get_logger("watchword.auth")

_USED_RECENTLY = timedelta(minutes=1)
_MOST_RECORDED = 10_000
_KEYS_TRIED = 4


@dataclass(frozen=True, slots=True)
class Service:
    """A service account that has just proved who it is, and by which of its credentials."""

    identity: Identity
    credential_id: str
    owner_id: str | None
    asked_scope: str | None = None


class ServiceLogin:
    """Authenticates service accounts by what they present; failures that are too many are `RateLimited`."""

    def __init__(self, foundation: Foundation, throttles: Throttles) -> None:
        self._database = foundation.database
        self._throttles = throttles
        self._rights = foundation.rights
        self._policy = foundation.policy
        self._audit = foundation.audit
        self._clock = foundation.clock
        self._recorded: dict[tuple[str, str], datetime] = {}

    async def by_secret(self, client_id: str, secret: Secret, origin: Origin) -> Service:
        """Return the account that has this secret. Raises `OAuthRefused` with INVALID_CLIENT, `StoreUnavailable`."""
        found = None
        if is_id(client_id):
            found = await store.service_credentials.find_secret(
                self._database, client_id, secret.digest(), self._clock.now()
            )
        if found is None:
            raise await self._refusal(client_id, OAuthFault.INVALID_CLIENT, origin, "no such secret")
        return await self._admitted(found, None, OAuthFault.INVALID_CLIENT, origin)

    async def by_assertion(self, text: Secret, origin: Origin, *, client_id: str | None = None) -> Service:
        """Return the account whose key signed this assertion for client authentication (private_key_jwt).

        `client_id` is what the request names besides, which must be the same. Raises `OAuthRefused` with
        INVALID_CLIENT, and `StoreUnavailable`.
        """

        def check(assertion: UnverifiedAssertion, key: SigningKey, account: ServiceCredentialRow) -> Assertion:
            # RFC 7523 §3: here `iss` is the `client_id`, and not the address that key files have for it.
            if {assertion.claimed_issuer, client_id or account.account_id} != {account.account_id}:
                raise JwsRefused("another client")
            return assertion.authenticates(key, audience=self._policy.issuer, now=self._clock.now())

        return await self._asserted(text, check, OAuthFault.INVALID_CLIENT, origin)

    async def by_grant(self, text: Secret, origin: Origin) -> Service:
        """Return the account whose key signed this assertion as a grant (RFC 7523 §2.1).

        Raises `OAuthRefused` with INVALID_GRANT, and `StoreUnavailable`.
        """
        own = {self._policy.issuer, self._policy.issuer + TOKEN_PATH}

        def check(assertion: UnverifiedAssertion, key: SigningKey, credential: ServiceCredentialRow) -> Assertion:
            is_file = credential.kind == KEY_FILE
            audiences = own | {_GOOGLE_TOKEN_ENDPOINT} if is_file else own
            return assertion.grants(key, audiences=audiences, without_jti=is_file, now=self._clock.now())

        return await self._asserted(text, check, OAuthFault.INVALID_GRANT, origin)

    async def _asserted(
        self,
        text: Secret,
        check: Callable[[UnverifiedAssertion, SigningKey, ServiceCredentialRow], Assertion],
        fault: OAuthFault,
        origin: Origin,
    ) -> Service:
        """Find the account that an assertion claims to be from, and one of its keys by which that is true."""
        try:
            assertion = UnverifiedAssertion(text.reveal())
        except JwsRefused as refused:
            raise await self._refusal("", fault, origin, str(refused)) from refused
        account_id = assertion.claimed_issuer.partition("@")[0]
        if assertion.claimed_issuer not in {account_id, service_address(account_id, self._policy.issuer)}:
            raise await self._refusal("", fault, origin, "another issuer")
        why = "no such key"
        for credential in await self._keys_of(account_id, assertion.kid, assertion.algorithm):
            try:
                checked = check(assertion, keys.from_public_jwk(credential.public_jwk or "{}"), credential)
            except JwsRefused as refused:
                why = str(refused)
                continue
            return await self._admitted(credential, checked, fault, origin)
        raise await self._refusal(account_id, fault, origin, why)

    async def _keys_of(self, account_id: str, kid: str | None, algorithm: object) -> list[ServiceCredentialRow]:
        if not is_id(account_id):
            return []
        now = self._clock.now()
        if kid is not None:
            named = await store.service_credentials.find_key(self._database, account_id, kid, now)
            if named is not None:
                return [named]
        # A client may name its key as it likes, or not at all. Each that is tried costs a verification, and whoever
        # sends an assertion is a stranger until one holds: so not all of them, but the newest of the algorithm.
        live = await store.service_credentials.live_keys(self._database, account_id, now)
        return [key for key in live if key.algorithm == algorithm][:_KEYS_TRIED]

    async def _admitted(
        self, credential: ServiceCredentialRow, assertion: Assertion | None, fault: OAuthFault, origin: Origin
    ) -> Service:
        """Let an account in that has proved who it is, if it may be let in, and its assertion was not used before."""
        now = self._clock.now()
        standing = await store.service_accounts.standing(
            self._database, credential.account_id, kid="", credential_id=credential.id, token_id=new_id(), now=now
        )
        if standing is None or not standing.credential_is_good or is_disabled(standing):
            raise await self._refusal(credential.account_id, fault, origin, "disabled")
        if assertion is not None and assertion.jti is not None:
            digest = sha256(f"{credential.account_id} {assertion.jti}".encode()).digest()
            async with self._database.transaction() as tx:
                fresh = await store.service_assertions.take(tx, digest, expires_at=assertion.expires_at, now=now)
            if not fresh:
                raise await self._refusal(credential.account_id, fault, origin, "used before")
        if credential.last_used_at is None or now - credential.last_used_at >= _USED_RECENTLY:
            await self._note_use(credential.id, now, origin)
        identity = service_identity(standing.account_id, scopes_of(standing, self._rights), origin)
        return Service(identity, credential.id, standing.owner_id, assertion.scope if assertion else None)

    async def _note_use(self, credential_id: str, now: datetime, origin: Origin) -> None:
        # Not to be able to write it down is no reason to refuse.
        with suppress(StoreUnavailable):
            async with self._database.transaction() as tx:
                await store.service_credentials.touch(tx, credential_id, used_at=now, address=origin.address)

    async def _refusal(self, account_id: str, fault: OAuthFault, origin: Origin, why: str) -> OAuthRefused:
        # What is right is always let in: nobody guesses 256 bits, and a stranger, or a forgotten copy of the program,
        # must not shut an account out. What fails too often is not written down any more, which is what it could cost.
        with suppress(StoreUnavailable):
            await self._throttles.count_failure("oauth", origin, client_id=account_id)
        account = await store.service_accounts.find(self._database, account_id) if is_id(account_id) else None
        # Whoever asked is told the fault alone; the owner, and the operator, can read what it was.
        _log.info("service_refused", fault=fault.name, why=why, request_id=origin.request_id)
        if account is not None and self._is_news(account.id, why):
            # That it cannot be written down makes no other answer of it.
            with suppress(StoreUnavailable):
                await self._audit.record_alone(
                    Act.SERVICE_FAIL,
                    origin,
                    concerning=account.owner_id or account.id,
                    what=account.id,
                    detail=f"{fault.name}: {why}",
                )
        return OAuthRefused(fault)

    def _is_news(self, account_id: str, why: str) -> bool:
        """Say whether a failure is to be recorded: of one account and one sort, one in a minute.

        Each row is a write to the disk, and nobody has to prove anything to fail.
        """
        now, last = self._clock.now(), self._recorded.get((account_id, why))
        if last is not None and now - last < _USED_RECENTLY:
            return False
        if len(self._recorded) >= _MOST_RECORDED:
            self._recorded.clear()
        self._recorded[account_id, why] = now
        return True
