"""The keys with which tokens are signed and verified; the first start makes one, every other start finds it."""

from collections.abc import Mapping
from types import MappingProxyType

import store.signing_keys
from auth import keys
from auth.clock import Clock
from auth.keys import SigningKey
from auth.sealing import SealBroken, Sealer
from store import Database, Transaction
from store.signing_keys import SigningKeyRow


class KeyRing:
    """The installation's keys, opened: the newest signs, all of them verify."""

    def __init__(self, opened: list[SigningKey]) -> None:
        self.current = opened[0]
        self.by_kid: Mapping[str, SigningKey] = MappingProxyType({key.kid: key for key in opened})


async def open_key_ring(database: Database, sealer: Sealer, clock: Clock) -> KeyRing:
    """Load the keys, making the first one if there is none.

    Raises `SealBroken` when they were sealed under another secret key, and `StoreUnavailable`.
    """
    rows = await store.signing_keys.load_all(database)
    if not rows:
        async with database.transaction() as tx:
            # Another process may have made one while this one waited for its turn.
            rows = await store.signing_keys.load_all(tx) or [await _make(tx, sealer, clock)]
    return KeyRing([open_key(row, sealer) for row in rows])


async def _make(tx: Transaction, sealer: Sealer, clock: Clock) -> SigningKeyRow:
    key = keys.generate()
    row = SigningKeyRow(
        kid=key.kid,
        algorithm=key.algorithm,
        public_jwk=key.public_jwk(),
        sealed_private_jwk=sealer.seal(key.private_jwk()),
        created_at=clock.now(),
    )
    await store.signing_keys.add(tx, row)
    return row


def open_key(row: SigningKeyRow, sealer: Sealer) -> SigningKey:
    """Return the key of a row. Raises `SealBroken` for another secret key's seal, or another key's private half."""
    key = keys.from_private_jwk(sealer.open(row.sealed_private_jwk))
    if key.kid != row.kid:
        # Whoever can write rows, but lacks the secret key, may still exchange one sealed half for another.
        raise SealBroken(f"the private half stored under the kid {row.kid} belongs to another key")
    return key
