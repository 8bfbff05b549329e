"""Rows of signing keys: the public half in clear, the private half sealed by `auth.sealing` before it comes here."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, func, insert, literal_column, select, update

from store.database import Reader, Row, Transaction
from store.instants import from_optional_seconds, from_seconds, to_optional_seconds, to_seconds
from store.statements import Statement
from store.tables import signing_keys


@dataclass(frozen=True, slots=True)
class SigningKeyRow:
    """A signing key as stored; `kid` is the RFC 7638 thumbprint of its public half, which HS256 has not (empty).

    It signs from `signs_from` on (None: nobody has said when) and until another key does. What it signed is taken until
    `verifies_until` (None: no other key has taken its place), which is no sooner than `tokens_until`, when the last of
    its long-lived tokens expires.
    """

    kid: str
    algorithm: str
    public_jwk: str
    sealed_private_jwk: bytes
    created_at: datetime
    signs_from: datetime | None = None
    verifies_until: datetime | None = None
    tokens_until: datetime | None = None
    revoked_at: datetime | None = None


_COLUMNS = (
    signing_keys.c.kid,
    signing_keys.c.algorithm,
    signing_keys.c.public_jwk,
    signing_keys.c.sealed_private_jwk,
    signing_keys.c.created_at,
    signing_keys.c.signs_from,
    signing_keys.c.verifies_until,
    signing_keys.c.tokens_until,
    signing_keys.c.revoked_at,
)
_ALL = Statement(select(*_COLUMNS).order_by(signing_keys.c.created_at.desc(), signing_keys.c.kid))
_INSERT = Statement(insert(signing_keys))
_OF_KID = signing_keys.c.kid == bindparam("of_kid")
_SCHEDULE = Statement(update(signing_keys).where(_OF_KID).values(signs_from=bindparam("instant")))
_RETIRE = Statement(update(signing_keys).where(_OF_KID).values(verifies_until=bindparam("instant")))
_KEEP_FOR_TOKENS = Statement(
    update(signing_keys)
    .where(_OF_KID, signing_keys.c.tokens_until < bindparam("least"))
    .values(tokens_until=bindparam("instant"))
)
_KEEP_VERIFYING = Statement(
    update(signing_keys)
    .where(_OF_KID, signing_keys.c.revoked_at.is_(None), signing_keys.c.verifies_until < bindparam("least"))
    .values(verifies_until=bindparam("instant"))
)
_REVOKE = Statement(
    update(signing_keys)
    .where(_OF_KID, signing_keys.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("instant"), verifies_until=bindparam("until"))
)
_RESEAL = Statement(update(signing_keys).where(_OF_KID).values(sealed_private_jwk=bindparam("sealed")))
_DELETE = Statement(delete(signing_keys).where(_OF_KID))


# Until when the key `signed_by` verifies: null when it is gone, `FOREVER` while no other key has taken its place. It
# stands in the statement that a gate asks on each request, so that a key that was revoked by another process, or whose
# last token must have expired, lets nobody in on any.
FOREVER = 253_402_300_799  # the last second of the year 9999
KEY_VERIFIES_UNTIL = (
    select(func.coalesce(signing_keys.c.verifies_until, literal_column(str(FOREVER))))
    .where(signing_keys.c.kid == bindparam("signed_by"))
    .scalar_subquery()
)


async def load_all(reader: Reader) -> list[SigningKeyRow]:
    """Return every key, the newest first."""
    return [_key(row) for row in await reader.all(_ALL)]


async def add(tx: Transaction, key: SigningKeyRow) -> None:
    """Add a key."""
    await tx.run(
        _INSERT,
        kid=key.kid,
        algorithm=key.algorithm,
        public_jwk=key.public_jwk,
        sealed_private_jwk=key.sealed_private_jwk,
        created_at=to_seconds(key.created_at),
        signs_from=to_optional_seconds(key.signs_from),
        verifies_until=to_optional_seconds(key.verifies_until),
        tokens_until=to_optional_seconds(key.tokens_until) or 0,
        revoked_at=to_optional_seconds(key.revoked_at),
    )


async def schedule(tx: Transaction, kid: str, signs_from: datetime) -> None:
    """Say from when on a key signs."""
    await tx.run(_SCHEDULE, of_kid=kid, instant=to_seconds(signs_from))


async def retire(tx: Transaction, kid: str, verifies_until: datetime) -> None:
    """Say until when the tokens of a key, whose place another one takes, are still good."""
    await tx.run(_RETIRE, of_kid=kid, instant=to_seconds(verifies_until))


async def keep_until(tx: Transaction, kid: str, tokens_until: datetime) -> None:
    """Keep a key at least until a token that it signs expires."""
    instant = to_seconds(tokens_until)
    await tx.run(_KEEP_FOR_TOKENS, of_kid=kid, least=instant, instant=instant)
    await tx.run(_KEEP_VERIFYING, of_kid=kid, least=instant, instant=instant)


async def revoke(tx: Transaction, kid: str, now: datetime) -> bool:
    """Refuse whatever a key signed, from now on; return False when that was so already."""
    instant = to_seconds(now)
    return await tx.run(_REVOKE, of_kid=kid, instant=instant, until=instant) == 1


async def reseal(tx: Transaction, kid: str, sealed_private_jwk: bytes) -> None:
    """Replace a sealed private half by the same one, sealed under another secret key."""
    await tx.run(_RESEAL, of_kid=kid, sealed=sealed_private_jwk)


async def remove(tx: Transaction, kid: str) -> None:
    """Forget a key, with its private half."""
    await tx.run(_DELETE, of_kid=kid)


def _key(row: Row) -> SigningKeyRow:
    return SigningKeyRow(
        kid=row[0],
        algorithm=row[1],
        public_jwk=row[2],
        sealed_private_jwk=bytes(row[3]),
        created_at=from_seconds(row[4]),
        signs_from=from_optional_seconds(row[5]),
        verifies_until=from_optional_seconds(row[6]),
        tokens_until=from_optional_seconds(row[7] or None),
        revoked_at=from_optional_seconds(row[8]),
    )
