"""Rows of what service accounts prove themselves with: the digest of a secret, or the public half of a key."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, func, insert, or_, select, update

from store.database import Reader, Row, Transaction
from store.instants import from_optional_seconds, from_seconds, to_optional_seconds, to_seconds
from store.statements import Statement
from store.tables import service_credentials


@dataclass(frozen=True, slots=True)
class ServiceCredentialRow:
    """A secret (`secret`), or a key whose private half was downloaded (`key_file`) or never seen (`public_key`)."""

    id: str
    account_id: str
    kind: str
    kid: str | None
    algorithm: str | None
    public_jwk: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    last_used_address: str | None = None


_COLUMNS = (
    service_credentials.c.id,
    service_credentials.c.account_id,
    service_credentials.c.kind,
    service_credentials.c.kid,
    service_credentials.c.algorithm,
    service_credentials.c.public_jwk,
    service_credentials.c.created_at,
    service_credentials.c.expires_at,
    service_credentials.c.revoked_at,
    service_credentials.c.last_used_at,
    service_credentials.c.last_used_address,
)
_LIVE = (
    service_credentials.c.revoked_at.is_(None),
    or_(service_credentials.c.expires_at.is_(None), service_credentials.c.expires_at > bindparam("now")),
)
_OF_ACCOUNT = service_credentials.c.account_id == bindparam("of_account")
_BY_ID = Statement(select(*_COLUMNS).where(service_credentials.c.id == bindparam("credential_id")))
_BY_SECRET = Statement(
    select(*_COLUMNS).where(_OF_ACCOUNT, service_credentials.c.secret_digest == bindparam("digest"), *_LIVE)
)
_BY_KID = Statement(select(*_COLUMNS).where(_OF_ACCOUNT, service_credentials.c.kid == bindparam("wanted_kid"), *_LIVE))
_LIVE_KEYS = Statement(
    select(*_COLUMNS)
    .where(_OF_ACCOUNT, service_credentials.c.kid.is_not(None), *_LIVE)
    .order_by(service_credentials.c.id.desc())
)
_OF_ONE_ACCOUNT = Statement(select(*_COLUMNS).where(_OF_ACCOUNT, *_LIVE).order_by(service_credentials.c.id.desc()))
_COUNT = Statement(select(func.count()).select_from(service_credentials).where(_OF_ACCOUNT, *_LIVE))
_KNOWN_KID = Statement(
    select(service_credentials.c.id).where(_OF_ACCOUNT, service_credentials.c.kid == bindparam("wanted_kid"))
)
_INSERT = Statement(insert(service_credentials))
_REVOKE = Statement(
    update(service_credentials)
    .where(service_credentials.c.id == bindparam("credential_id"), service_credentials.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("instant"))
)
_TOUCH = Statement(
    update(service_credentials)
    .where(service_credentials.c.id == bindparam("credential_id"))
    .values(last_used_at=bindparam("instant"), last_used_address=bindparam("from_address"))
)


async def find(reader: Reader, credential_id: str) -> ServiceCredentialRow | None:
    """Return the credential with this id, live or not."""
    return _optional(await reader.one(_BY_ID, credential_id=credential_id))


async def find_secret(reader: Reader, account_id: str, digest: bytes, now: datetime) -> ServiceCredentialRow | None:
    """Return an account's live secret with this SHA-256."""
    return _optional(await reader.one(_BY_SECRET, of_account=account_id, digest=digest, now=to_seconds(now)))


async def find_key(reader: Reader, account_id: str, kid: str, now: datetime) -> ServiceCredentialRow | None:
    """Return an account's live key with this thumbprint."""
    return _optional(await reader.one(_BY_KID, of_account=account_id, wanted_kid=kid, now=to_seconds(now)))


async def live_keys(reader: Reader, account_id: str, now: datetime) -> list[ServiceCredentialRow]:
    """Return an account's live keys, the newest first."""
    return [_credential(row) for row in await reader.all(_LIVE_KEYS, of_account=account_id, now=to_seconds(now))]


async def all_of_account(reader: Reader, account_id: str, now: datetime) -> list[ServiceCredentialRow]:
    """Return an account's live credentials, the newest first."""
    return [_credential(row) for row in await reader.all(_OF_ONE_ACCOUNT, of_account=account_id, now=to_seconds(now))]


async def count_of_account(reader: Reader, account_id: str, now: datetime) -> int:
    """Return how many live credentials an account has."""
    row = await reader.one(_COUNT, of_account=account_id, now=to_seconds(now))
    return 0 if row is None else int(row[0])


async def knows_key(reader: Reader, account_id: str, kid: str) -> bool:
    """Say whether an account has this key, or had it before it was revoked."""
    return await reader.one(_KNOWN_KID, of_account=account_id, wanted_kid=kid) is not None


async def add(tx: Transaction, credential: ServiceCredentialRow, *, secret_digest: bytes | None = None) -> None:
    """Add a credential that was never used."""
    await tx.run(
        _INSERT,
        id=credential.id,
        account_id=credential.account_id,
        kind=credential.kind,
        secret_digest=secret_digest,
        kid=credential.kid,
        algorithm=credential.algorithm,
        public_jwk=credential.public_jwk,
        created_at=to_seconds(credential.created_at),
        expires_at=to_optional_seconds(credential.expires_at),
        revoked_at=None,
        last_used_at=None,
        last_used_address=None,
    )


async def revoke(tx: Transaction, credential_id: str, now: datetime) -> bool:
    """End a credential, and with it every token that was given for it; False when that was so already."""
    return await tx.run(_REVOKE, credential_id=credential_id, instant=to_seconds(now)) == 1


async def touch(tx: Transaction, credential_id: str, *, used_at: datetime, address: str | None) -> None:
    """Write down when, and from where, a credential was last used."""
    await tx.run(_TOUCH, credential_id=credential_id, instant=to_seconds(used_at), from_address=address)


def _optional(row: Row | None) -> ServiceCredentialRow | None:
    return None if row is None else _credential(row)


def _credential(row: Row) -> ServiceCredentialRow:
    return ServiceCredentialRow(
        id=row[0],
        account_id=row[1],
        kind=row[2],
        kid=row[3],
        algorithm=row[4],
        public_jwk=row[5],
        created_at=from_seconds(row[6]),
        expires_at=from_optional_seconds(row[7]),
        revoked_at=from_optional_seconds(row[8]),
        last_used_at=from_optional_seconds(row[9]),
        last_used_address=row[10],
    )
