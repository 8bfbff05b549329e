"""Throttles: how often somebody may guess, counted before the guess is looked at, and over all processes.

An account is guessed at no more than ten times within any minute, through whatever door. Seven of these are for
everybody together, the other three for the networks that its owner's sessions were seen from: no stranger can use those
up. Besides, one network waits longer and longer for one account, and has so many guesses for all of them. What was
right is given back, for it was no guess. An account that does not exist is throttled exactly as one that does.
"""

import hmac
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import NamedTuple

import structlog

import store.sessions
import store.throttles
from auth.alone import throttle
from auth.foundation import Foundation
from auth.origin import Origin
from auth.rates import MINUTE, Rate, at_most_each_minute, full_after_one, given_back, until_next
from auth.refusals import RateLimited
from auth.secret import Secret, derived_key
from store import Reader, Transaction
from store.networks import network_of

# Within any minute 5 + 2 and 2 + 1: ten for an account (ASVS 6.3.1). Raise one, and lower another.
EVERYBODY = Rate(burst=5, interval=30_000)
RESERVE = Rate(burst=2, interval=60_000)

# A network has as many at once as everybody has, so that who is alone cannot tell from the reserve whether there is
# such an account; and in the long run less than what comes back to everybody, so that some is left for others.
PAIR = Rate(burst=5, interval=60_000)
PAIR_IN_THE_LONG_RUN = Rate(burst=10, interval=300_000)

KNOWN_FOR = timedelta(days=30)  # since a session was seen there

_PURPOSE = "watchword throttles v1"
_MOST_LOGGED = 10_000

_log = structlog.get_logger("watchword.auth")


class Bucket(NamedTuple):
    """A key, and how often it may be taken from."""

    key: bytes
    rate: Rate


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an attempt takes from: all of `needed`, and of `either` the first that has one."""

    door: str
    origin: Origin
    alone_in: tuple[str, ...]
    needed: tuple[Bucket, ...]
    either: tuple[Bucket, ...] = ()
    user_id: str | None = None  # whose reserve it is, which the networks that they are known from may use

    @property
    def keys(self) -> list[bytes]:
        """All that has to be read to decide."""
        return [bucket.key for bucket in (*self.needed, *self.either)]


@dataclass(frozen=True, slots=True)
class Counted:
    """An attempt that was let through: what it took, in which millisecond, and what that is decided alone in."""

    alone_in: tuple[str, ...]
    buckets: tuple[Bucket, ...]
    at: int


class Throttles:
    """Counts attempts, and refuses those that are too many with `RateLimited`.

    `refused` is how many that were, by the door that they came to.
    """

    def __init__(self, foundation: Foundation, secret_keys: Sequence[Secret]) -> None:
        self._database = foundation.database
        self._clock = foundation.clock
        self._key = derived_key(secret_keys[0], _PURPOSE)
        self._by_address = at_most_each_minute(foundation.policy.guesses_per_address)
        self._logged: dict[bytes, int] = {}
        self.refused: Counter[str] = Counter()

    async def count_guess(self, door: str, origin: Origin, *, user_id: str | None, typed: str = "") -> Counted:
        """Count a guess at a password, of a person or, where there is none, of what was typed in their stead.

        Raises `RateLimited`, after reads alone, and `StoreUnavailable`: what cannot be counted is not looked at.
        """
        account = self._digest("account", f"user {user_id}" if user_id else f"typed {typed}")
        needed, either = [self._address(origin)], [Bucket(self._digest("everybody", account), EVERYBODY)]
        if network := network_of(origin.address):
            # Who comes from nowhere known is in no pair: one stranger's would be everybody's, the owner's too.
            needed.append(Bucket(self._digest("pair", account, network), PAIR))
            needed.append(Bucket(self._digest("pair in the long run", account, network), PAIR_IN_THE_LONG_RUN))
            either.append(Bucket(self._digest("reserve", account), RESERVE))
        alone_in = throttle(account), throttle(needed[0].key)  # of what is counted for an account, all at once
        return await self._take(Attempt(door, origin, alone_in, tuple(needed), tuple(either), user_id))

    async def count_hash(self, door: str, origin: Origin) -> None:
        """Count a password that is to be hashed for nobody yet. Raises `RateLimited` and `StoreUnavailable`."""
        address = self._address(origin)
        await self._take(Attempt(door, origin, (throttle(address.key),), (address,)))

    async def count_failure(self, door: str, origin: Origin, *, client_id: str) -> None:
        """Count that a client failed to prove who it is. Raises `RateLimited` and `StoreUnavailable`.

        Its secret cannot be guessed, and was looked at already: this bounds what failing costs, and shuts nobody out.
        """
        needed = [Bucket(self._digest("failures from", network_of(origin.address) or ""), self._by_address)]
        if client_id:
            needed.append(Bucket(self._digest("failures of", client_id), self._by_address))
        await self._take(Attempt(door, origin, tuple(throttle(bucket.key) for bucket in needed), tuple(needed)))

    async def give_back(self, tx: Transaction, counted: Counted) -> None:
        """Give back what a guess took that was right, or that could not be looked at.

        The transaction is alone in what the guess was counted alone in.
        """
        now = self._now()
        for bucket in counted.buckets:
            # All of it for the address, which may be that of a house where many log in at the same moment: the bound
            # that has to be exact is the account's.
            is_address = bucket.rate == self._by_address
            if milliseconds := bucket.rate.interval if is_address else given_back(bucket.rate, counted.at, now):
                await store.throttles.bring_forward(tx, bucket.key, milliseconds)

    async def give_back_alone(self, counted: Counted) -> None:
        """Give back in a transaction of its own. Raises `StoreUnavailable`."""
        async with self._database.transaction(*counted.alone_in) as tx:
            await self.give_back(tx, counted)

    async def _take(self, attempt: Attempt) -> Counted:
        # First by reads alone: a flood that is refused writes nothing.
        await self._decide(self._database, attempt, self._now())
        async with self._database.transaction(*attempt.alone_in) as tx:
            # Nobody else counts here meanwhile, in whichever process; the turn may have taken a while.
            now = self._now()
            taken = await self._decide(tx, attempt, now)
            for bucket, full_at in taken.items():
                await store.throttles.put(tx, bucket.key, full_at)
            await store.throttles.prune(tx, now)
        return Counted(attempt.alone_in, tuple(taken), now)

    async def _decide(self, reader: Reader, attempt: Attempt, now: int) -> dict[Bucket, int]:
        """Return what is taken, with when each is full again. Raises `RateLimited`."""
        full_at = await store.throttles.full_at(reader, attempt.keys)

        def wait(bucket: Bucket) -> int:
            return until_next(bucket.rate, full_at.get(bucket.key, 0), now)

        taken = [*attempt.needed]
        if attempt.either:
            everybody, *reserve = attempt.either
            # Whether they are known there is asked only where it matters, and for accounts that do not exist too.
            use_reserve = reserve and wait(everybody) > wait(reserve[0]) and await self._is_known(reader, attempt)
            taken.append(reserve[0] if use_reserve else everybody)
        slowest = max(taken, key=wait)
        if wait(slowest):
            self.refused[attempt.door] += 1
            self._note(attempt, slowest, now)
            raise RateLimited(timedelta(milliseconds=wait(slowest)))
        return {bucket: full_after_one(bucket.rate, full_at.get(bucket.key, 0), now) for bucket in taken}

    async def _is_known(self, reader: Reader, attempt: Attempt) -> bool:
        since, network = self._clock.now() - KNOWN_FOR, network_of(attempt.origin.address) or ""
        return await store.sessions.was_seen_from(reader, attempt.user_id, network, since=since)

    def _note(self, attempt: Attempt, refused_by: Bucket, now: int) -> None:
        """Log that an attempt was refused: of one network and account once a minute, of one network alone likewise."""
        about = refused_by.key if refused_by == attempt.needed[0] else attempt.needed[-1].key
        if now - self._logged.get(about, 0) < MINUTE:
            return
        if len(self._logged) >= _MOST_LOGGED:
            self._logged.clear()
        self._logged[about] = now
        origin = attempt.origin
        _log.warning("login_throttled", door=attempt.door, request_id=origin.request_id, address=origin.address)

    def _address(self, origin: Origin) -> Bucket:
        return Bucket(self._digest("address", network_of(origin.address) or ""), self._by_address)

    def _digest(self, *parts: str | bytes) -> bytes:
        # What was typed may be a password in the wrong field, so not even its plain digest is kept.
        parts_in_bytes = (part.encode(errors="surrogatepass") if isinstance(part, str) else part for part in parts)
        return hmac.digest(self._key, b"".join(sha256(part).digest() for part in parts_in_bytes), sha256)

    def _now(self) -> int:
        return int(self._clock.now().timestamp() * 1000)
