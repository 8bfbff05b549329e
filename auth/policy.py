"""The rules of an installation that its operator may set."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class HashingCost:
    """Argon2id's parameters (RFC 9106) and how many passwords are hashed at a time.

    The defaults are OWASP's: 20 ms and 19 MiB a login here. Doubling the memory doubles both, and with it what a
    stranger who logs in without pause can make this server spend.
    """

    memory_kib: int = 19456
    iterations: int = 2
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Policy:
    """Who signs, how long what is signed holds, what a password costs, and how much is too much."""

    issuer: str
    signing_algorithm: str = "EdDSA"
    signing_key_lifetime: timedelta = timedelta(days=90)
    publication_time: timedelta = timedelta(minutes=5)  # how long verifiers elsewhere may keep a set of keys
    access_token_lifetime: timedelta = timedelta(minutes=5)
    session_idle_timeout: timedelta = timedelta(days=30)
    session_lifetime: timedelta = timedelta(days=90)
    session_retention: timedelta = timedelta(days=30)  # how long ended sessions are kept
    audit_retention: timedelta = timedelta(days=400)  # 0: for ever
    hashing: HashingCost = HashingCost()
    guesses_per_address: int = 60  # in any minute, over all accounts
    budget: int = 100_000  # points a minute for somebody known; 0: no limit
    anonymous_budget: int = 20_000  # and for all strangers of one address
