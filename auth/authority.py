"""All of `auth`, put together over one database."""

from collections.abc import Sequence
from dataclasses import dataclass

from auth.activity import Activity
from auth.api_tokens import ApiTokens
from auth.audit import Audit
from auth.budget_exchange import BudgetExchange
from auth.budgets import Budgets
from auth.clock import Clock, SystemClock
from auth.extra_claims import ExtraClaims
from auth.foundation import Foundation
from auth.gate import Gate
from auth.housekeeping import Housekeeping
from auth.issuer import Issuer
from auth.key_ring import KeyRing
from auth.login import Login
from auth.passwords import Passwords
from auth.policy import Policy
from auth.publications import Publications
from auth.refresh_tokens import RefreshTokens
from auth.renewal import Renewal
from auth.scopes import Rights
from auth.sealing import Sealer
from auth.secret import Secret
from auth.service_accounts import ServiceAccounts
from auth.service_login import ServiceLogin
from auth.service_tokens import ServiceTokens
from auth.sessions import Sessions
from auth.setup import Setup
from auth.throttles import Throttles
from auth.token_status import TokenStatus
from auth.users import Users
from auth.verifier import Verifier
from store import Database
from store.watched import WatchedDatabase


@dataclass(frozen=True, slots=True)
class Auth:
    """The services, the gate, and what they share. A domain's lifespan is handed this."""

    database: WatchedDatabase
    clock: Clock
    policy: Policy
    rights: Rights
    audit: Audit
    key_ring: KeyRing
    extra_claims: ExtraClaims
    gate: Gate
    login: Login
    sessions: Sessions
    renewal: Renewal
    api_tokens: ApiTokens
    service_accounts: ServiceAccounts
    service_login: ServiceLogin
    service_tokens: ServiceTokens
    token_status: TokenStatus
    setup: Setup
    users: Users
    passwords: Passwords
    throttles: Throttles
    activity: Activity
    publications: Publications
    budgets: Budgets
    housekeeping: Housekeeping

    async def close(self) -> None:
        """End every stream, and the threads that hash. The database is closed by whoever opened it."""
        await self.budgets.close()
        await self.housekeeping.close()
        await self.activity.close()
        await self.publications.close()
        self.passwords.close()


async def open_auth(
    database: Database,
    policy: Policy,
    rights: Rights,
    secret_keys: Sequence[Secret],
    clock: Clock | None = None,
    *,
    to_look: bool = False,
) -> Auth:
    """Open the key ring and build the services.

    `to_look` leaves the keys that there are as they are, whatever the policy says of them: to see is not to change.
    Raises `SealBroken` when the signing keys were sealed under another secret key, and `StoreUnavailable`.
    """
    clock = clock or SystemClock()
    database = WatchedDatabase(database)
    foundation = Foundation(database, clock, policy, rights, Audit(database, clock))
    key_ring = KeyRing(foundation, Sealer(secret_keys))
    if not to_look or not await key_ring.open():
        await key_ring.make_ready()
    passwords = Passwords(policy.hashing)
    extra_claims = ExtraClaims()
    issuer = Issuer(key_ring, extra_claims, policy)
    verifier = Verifier(key_ring, policy)
    sessions = Sessions(foundation)
    renewal = Renewal(foundation, sessions, issuer, RefreshTokens(secret_keys))
    throttles = Throttles(foundation, secret_keys)
    users = Users(foundation, passwords, throttles, sessions)
    api_tokens = ApiTokens(foundation, sessions, key_ring)
    service_tokens = ServiceTokens(foundation, issuer)
    gate = Gate(verifier, sessions, renewal, api_tokens, service_tokens, clock)
    return Auth(
        database=database,
        clock=clock,
        policy=policy,
        rights=rights,
        audit=foundation.audit,
        key_ring=key_ring,
        extra_claims=extra_claims,
        gate=gate,
        login=Login(foundation, passwords, throttles, sessions, renewal),
        sessions=sessions,
        renewal=renewal,
        api_tokens=api_tokens,
        service_accounts=ServiceAccounts(foundation, sessions),
        service_login=ServiceLogin(foundation, throttles),
        service_tokens=service_tokens,
        token_status=TokenStatus(gate, sessions, renewal, api_tokens, service_tokens),
        setup=Setup(database, users, clock),
        users=users,
        passwords=passwords,
        throttles=throttles,
        activity=Activity(database),
        publications=Publications(database, clock),
        budgets=Budgets(policy, clock, BudgetExchange(database, clock, secret_keys)),
        housekeeping=Housekeeping(foundation, key_ring),
    )
