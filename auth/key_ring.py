"""The ring of keys: next, current and retired. It signs with one, verifies with all, and publishes what can be.

A key is published before it signs, so that those who verify elsewhere have it when its first token arrives, and is kept
until the last token it signed has expired. The rows are read whenever something is signed and whenever a key is asked
for that is not known: so no process needs to be told of a rotation, and none signs with a key that was taken away.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

import store.signing_keys
from auth import keys
from auth.alone import THE_KEYS
from auth.audit import Act
from auth.foundation import Foundation
from auth.key_states import KeyStanding, KeyState, current_of, standing_of, unscheduled_of, verifies, waiting_of
from auth.keys import SigningKey, from_public_jwk
from auth.origin import NOWHERE
from auth.refusals import NotFound
from auth.sealing import SealBroken, Sealer
from auth.tokens import LONGEST_ACCESS_LIFE
from store import Reader, StoreUnavailable, Transaction
from store.signing_keys import SigningKeyRow

_log = structlog.get_logger("watchword.auth")

# Beyond the last moment at which an access token of a retired key can be good: clocks differ.
_GRACE = timedelta(minutes=5)


class KeyRing:
    """The installation's keys, over the rows that all its processes share."""

    def __init__(self, foundation: Foundation, sealer: Sealer) -> None:
        self._database = foundation.database
        self._sealer = sealer
        self._policy = foundation.policy
        self._audit = foundation.audit
        self._clock = foundation.clock
        self._opened: dict[str, SigningKey] = {}
        self._dead: dict[str, SigningKey] = {}
        self._unopenable: set[str] = set()

    async def open(self) -> list[SigningKeyRow]:
        """Open every key there is, so that one that cannot be is found now, and not when its first token comes.

        Raises `SealBroken` when keys were sealed under none of the secret keys, and `StoreUnavailable`.
        """
        rows = await store.signing_keys.load_all(self._database)
        for row in rows:
            self._opened[row.kid] = open_key(row, self._sealer)
        return rows

    async def make_ready(self) -> None:
        """Make what is missing to sign: the first keys, the next one, or one for an algorithm that was newly chosen.

        Seals anew what was sealed under a secret key that is no longer the first. Raises as `open` does.
        """
        rows = await self.open()
        if self._wants_nothing(rows):
            return
        spare, first = await self._generated(), await self._generated()
        async with self._database.transaction(THE_KEYS) as tx:
            # Another process may have done it while this one waited for its turn.
            rows = await store.signing_keys.load_all(tx)
            await self._reseal(tx, rows)
            if not rows:
                await self._add(tx, first, signs_from=self._clock.now())
                await self._add(tx, spare)
            elif (unscheduled := unscheduled_of(rows)) is None:
                await self._add(tx, spare)
            elif unscheduled.algorithm != self._policy.signing_algorithm:
                # Nothing was ever signed with those that go: the one that is next, and one that waits for its turn.
                waiting = waiting_of(rows, self._clock.now())
                for gone in (unscheduled, waiting):
                    if gone is not None:
                        await store.signing_keys.remove(tx, gone.kid)
                await self._add(tx, spare)
                await self._schedule(tx, rows, await self._add(tx, first), at_once=False)

    async def signing_key(self, reader: Reader | None = None) -> SigningKey:
        """Return the key that signs now, having rotated if that was due.

        A reader is given within a transaction, where no rotation can begin. Raises `SealBroken`, `StoreUnavailable`.
        """
        rows = await store.signing_keys.load_all(reader or self._database)
        now = self._clock.now()
        current = current_of(rows, now)
        if reader is None and self._is_due(rows, now):
            # That the next key cannot take its turn at this moment is no reason not to sign with this one.
            with suppress(StoreUnavailable):
                await self._rotate(at_once=False, only_if_due=True)
                current = current_of(await store.signing_keys.load_all(self._database), now)
        if current is None:
            raise StoreUnavailable("there is no signing key")
        return self._open(current)

    async def keep_until(self, tx: Transaction, key: SigningKey, tokens_until: datetime) -> None:
        """Keep a key at least until a token that it is about to sign expires."""
        await store.signing_keys.keep_until(tx, key.kid, tokens_until)

    async def verifying_key(self, kid: str) -> tuple[SigningKey, bool] | None:
        """Return the key with this thumbprint, and whether its tokens are taken; None for a thumbprint of no key.

        The rows are asked for one that this process has not met. Whether one that it has met is still good, the
        statement says that reads the token's row: `KEY_VERIFIES_UNTIL`. Raises `StoreUnavailable`.
        """
        known = self._opened.get(kid)
        if known is not None:
            return known, True
        rows = await store.signing_keys.load_all(self._database)
        found = next((row for row in rows if row.kid == kid), None)
        if found is None:
            return None
        if not verifies(found, self._clock.now()):
            return self._remembered_dead(found), False
        return self._open(found), True

    def forget(self, kid: str) -> None:
        """Drop a key that was found to be good no longer."""
        self._opened.pop(kid, None)

    async def published(self) -> list[str]:
        """Return the JWKs that others verify with: next, current and retired, those of HS256 never."""
        rows = await store.signing_keys.load_all(self._database)
        now = self._clock.now()
        return [row.public_jwk for row in rows if row.public_jwk and verifies(row, now)]

    async def standings(self) -> list[KeyStanding]:
        """Return every key that is next, signs, verifies or was revoked, in this order, private halves excepted."""
        rows, now = await store.signing_keys.load_all(self._database), self._clock.now()
        shown = [standing_of(row, rows, now) for row in rows if verifies(row, now) or row.revoked_at is not None]
        return sorted(shown, key=lambda key: list(KeyState).index(key.state))

    async def rotate(self, *, at_once: bool = False) -> KeyStanding:
        """Let the next key take its turn and publish another; return the key that signs, or will.

        A key that was published only just now waits until verifiers elsewhere can have it, unless it is to sign
        `at_once`. While one waits, there is nothing to do, and it is returned. Raises `StoreUnavailable`.
        """
        rows = await self._rotate(at_once=at_once, only_if_due=False)
        now = self._clock.now()
        chosen = waiting_of(rows, now) or current_of(rows, now)
        return next(standing_of(row, rows, now) for row in rows if row == chosen)

    async def revoke(self, kid: str) -> KeyStanding:
        """Refuse every token that a key signed, from the next request on; return the key that signs now.

        Nobody is logged out: who holds a session's secret or a refresh token is given a new access token. The API
        tokens that it signed are lost. Raises `NotFound` and `StoreUnavailable`.
        """
        spare = await self._generated()
        async with self._database.transaction(THE_KEYS) as tx:
            rows, now = await store.signing_keys.load_all(tx), self._clock.now()
            signing, waiting = current_of(rows, now), waiting_of(rows, now)
            was_signing = signing is not None and signing.kid == kid
            was_waiting = waiting is not None and waiting.kid == kid
            if not (kid in {row.kid for row in rows} and await store.signing_keys.revoke(tx, kid, now)):
                raise NotFound("There is no such key, or it was revoked before.")
            await self._audit.record(tx, Act.SIGNING_KEY_REVOKE, NOWHERE, what=kid)
            rows = await store.signing_keys.load_all(tx)
            if was_signing or was_waiting:
                # A key that was retired does not come back: the next one takes the turn of the one that is lost.
                successor = (
                    waiting_of(rows, now) or unscheduled_of(rows) or await self._add(tx, await self._generated())
                )
                await self._schedule(tx, rows, successor, at_once=was_signing)
                rows = await store.signing_keys.load_all(tx)
            if unscheduled_of(rows) is None:
                await self._add(tx, spare)
                rows = await store.signing_keys.load_all(tx)
        self.forget(kid)
        now = self._clock.now()  # the key that signs now may have begun in a later second than this did
        current = current_of(rows, now)
        return next(standing_of(row, rows, now) for row in rows if row == current)

    async def remove_dead(self) -> int:
        """Forget the keys whose last token has expired, private halves and all; return how many."""
        async with self._database.transaction(THE_KEYS) as tx:
            rows = await store.signing_keys.load_all(tx)
            await self._remove_dead(tx, rows, self._clock.now())
            return len(rows) - len(await store.signing_keys.load_all(tx))

    async def _rotate(self, *, at_once: bool, only_if_due: bool) -> list[SigningKeyRow]:
        spare = await self._generated()
        async with self._database.transaction(THE_KEYS) as tx:
            rows, now = await store.signing_keys.load_all(tx), self._clock.now()
            waiting = waiting_of(rows, now)
            if (waiting is not None and not at_once) or (only_if_due and not self._is_due(rows, now)):
                return rows  # another process was quicker
            chosen = waiting or unscheduled_of(rows) or await self._add(tx, await self._generated())
            if waiting is None:
                await self._add(tx, spare)
            await self._schedule(tx, rows, chosen, at_once=at_once)
            await self._audit.record(tx, Act.SIGNING_KEY_ROTATE, NOWHERE, what=chosen.kid)
            await self._remove_dead(tx, rows, now)
            return await store.signing_keys.load_all(tx)

    def _wants_nothing(self, rows: Sequence[SigningKeyRow]) -> bool:
        spare = unscheduled_of(rows)
        return (
            spare is not None
            and spare.algorithm == self._policy.signing_algorithm
            and all(self._sealer.is_first(row.sealed_private_jwk) for row in rows)
        )

    async def _reseal(self, tx: Transaction, rows: Iterable[SigningKeyRow]) -> None:
        for row in rows:
            if not self._sealer.is_first(row.sealed_private_jwk):
                private = open_key(row, self._sealer).private_jwk()
                await store.signing_keys.reseal(tx, row.kid, self._sealer.seal(private))

    async def _generated(self) -> SigningKey:
        # A key of RSA takes long enough to stop the server for everybody.
        return await asyncio.to_thread(keys.generate, self._policy.signing_algorithm)

    async def _add(self, tx: Transaction, key: SigningKey, signs_from: datetime | None = None) -> SigningKeyRow:
        row = SigningKeyRow(
            kid=key.kid,
            algorithm=key.algorithm,
            public_jwk=key.public_jwk(),
            sealed_private_jwk=self._sealer.seal(key.private_jwk()),
            created_at=self._clock.now(),
            signs_from=signs_from,
        )
        await store.signing_keys.add(tx, row)
        return row

    async def _schedule(
        self, tx: Transaction, rows: Sequence[SigningKeyRow], chosen: SigningKeyRow, *, at_once: bool
    ) -> None:
        now = self._clock.now()
        current = current_of(rows, now)
        # Instants are kept in whole seconds: of two keys with the same one, none could be called the later.
        earliest = now if current is None or current.signs_from is None else current.signs_from + timedelta(seconds=1)
        published = now if at_once else chosen.created_at + self._publication()
        signs_from = max(now, earliest, published)
        await store.signing_keys.schedule(tx, chosen.kid, signs_from)
        if current is not None and (current.verifies_until is None or not at_once):
            last = max(signs_from + LONGEST_ACCESS_LIFE + _GRACE, current.tokens_until or now)
            await store.signing_keys.retire(tx, current.kid, last)

    def _publication(self) -> timedelta:
        """Return how long a key is published before it signs: as long as anybody may believe a set without it.

        A little longer than caches are told: a set may have been on its way, and instants are kept in whole seconds.
        """
        told = self._policy.publication_time
        return told + max(timedelta(seconds=1), min(timedelta(seconds=30), told / 10))

    async def _remove_dead(self, tx: Transaction, rows: Iterable[SigningKeyRow], now: datetime) -> None:
        for row in rows:
            # Whoever shows a token of a revoked key is told so, and is given a new one, until such tokens have expired.
            ended = max(row.verifies_until or now, row.tokens_until or row.created_at)
            if not verifies(row, now) and now > ended + LONGEST_ACCESS_LIFE:
                await store.signing_keys.remove(tx, row.kid)

    def _is_due(self, rows: Sequence[SigningKeyRow], now: datetime) -> bool:
        current = current_of(rows, now)
        if current is None or current.signs_from is None:
            return False
        return now >= current.signs_from + self._policy.signing_key_lifetime and waiting_of(rows, now) is None

    def _remembered_dead(self, row: SigningKeyRow) -> SigningKey:
        # Read once: its `kid` stands in every old token, and to read a private half of RSA takes 60 ms.
        if row.kid not in self._dead:
            self._dead[row.kid] = from_public_jwk(row.public_jwk) if row.public_jwk else self._open(row)
            self.forget(row.kid)
        return self._dead[row.kid]

    def _open(self, row: SigningKeyRow) -> SigningKey:
        known = self._opened.get(row.kid)
        if known is None:
            try:
                known = self._opened[row.kid] = open_key(row, self._sealer)
            except SealBroken as error:
                # Another process seals under a secret key that this one was not given: nobody is logged out by that.
                if row.kid not in self._unopenable:
                    self._unopenable.add(row.kid)
                    _log.error("signing_key_does_not_open", kid=row.kid, setting="WATCHWORD_SECRET_KEY")
                raise StoreUnavailable("a signing key does not open under this process's secret keys") from error
        return known


def open_key(row: SigningKeyRow, sealer: Sealer) -> SigningKey:
    """Return the key of a row. Raises `SealBroken` for another secret key's seal, or another key's private half."""
    key = keys.from_private_jwk(sealer.open(row.sealed_private_jwk))
    if key.kid != row.kid or key.algorithm != row.algorithm:
        # Whoever can write rows, but lacks the secret key, may still exchange one sealed half for another.
        raise SealBroken(f"the private half stored under the kid {row.kid} belongs to another key")
    return key
