"""All of `auth`, put together over one database."""

from collections.abc import Sequence
from dataclasses import dataclass

from auth.clock import Clock, SystemClock
from auth.gate import Gate
from auth.key_ring import KeyRing, open_key_ring
from auth.login import Login
from auth.passwords import Passwords
from auth.policy import Policy
from auth.scopes import Rights
from auth.sealing import Sealer
from auth.secret import Secret
from auth.sessions import Sessions
from auth.setup import Setup
from auth.users import Users
from store import Database


@dataclass(frozen=True, slots=True)
class Auth:
    """The services, the gate, and what they share. A domain's lifespan is handed this."""

    database: Database
    clock: Clock
    policy: Policy
    rights: Rights
    key_ring: KeyRing
    gate: Gate
    login: Login
    sessions: Sessions
    setup: Setup
    users: Users
    passwords: Passwords

    def close(self) -> None:
        """End the threads that hash. The database is closed by whoever opened it."""
        self.passwords.close()


async def open_auth(
    database: Database,
    policy: Policy,
    rights: Rights,
    secret_keys: Sequence[Secret],
    clock: Clock | None = None,
) -> Auth:
    """Open the key ring and build the services.

    Raises `SealBroken` when the signing keys were sealed under another secret key, and `StoreUnavailable`.
    """
    clock = clock or SystemClock()
    key_ring = await open_key_ring(database, Sealer(secret_keys), clock)
    passwords = Passwords(policy.hashing)
    sessions = Sessions(database, key_ring, rights, policy, clock)
    users = Users(database, passwords, sessions, clock)
    return Auth(
        database=database,
        clock=clock,
        policy=policy,
        rights=rights,
        key_ring=key_ring,
        gate=Gate(sessions, key_ring, policy, clock),
        login=Login(database, passwords, sessions, clock),
        sessions=sessions,
        setup=Setup(database, users, clock),
        users=users,
        passwords=passwords,
    )
