"""Rows of signing keys: the public half in clear, the private half sealed by `auth.sealing` before it comes here."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from store.database import Reader, Row, Transaction
from store.instants import from_seconds, to_seconds
from store.statements import Statement
from store.tables import signing_keys


@dataclass(frozen=True, slots=True)
class SigningKeyRow:
    """A signing key as stored; `kid` is the RFC 7638 thumbprint of its public half."""

    kid: str
    algorithm: str
    public_jwk: str
    sealed_private_jwk: bytes
    created_at: datetime


_COLUMNS = (
    signing_keys.c.kid,
    signing_keys.c.algorithm,
    signing_keys.c.public_jwk,
    signing_keys.c.sealed_private_jwk,
    signing_keys.c.created_at,
)
_ALL = Statement(select(*_COLUMNS).order_by(signing_keys.c.created_at.desc(), signing_keys.c.kid))
_INSERT = Statement(insert(signing_keys))


def _key(row: Row) -> SigningKeyRow:
    return SigningKeyRow(row[0], row[1], row[2], bytes(row[3]), from_seconds(row[4]))


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
    )
