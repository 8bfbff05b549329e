"""Rows of service accounts: programs that call in their own name, each a person's or the installation's."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, bindparam, exists, func, insert, or_, select, update

from store.database import Reader, Row, Transaction
from store.instants import from_optional_seconds, from_seconds, to_seconds
from store.signing_keys import KEY_VERIFIES_UNTIL
from store.statements import Statement
from store.tables import service_accounts, service_credentials, token_revocations, users
from store.users import ROLES_OF_USER


@dataclass(frozen=True, slots=True)
class ServiceAccountRow:
    """A service account; `owner_id` is None for one that is the installation's, and its id is the OAuth `client_id`."""

    id: str
    owner_id: str | None
    name: str
    scopes: frozenset[str]
    created_at: datetime
    disabled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ServiceStanding:
    """All that decides whether an account may act, and what for; for a presented token also what decides about that."""

    account_id: str
    owner_id: str | None
    scopes: frozenset[str]
    disabled_at: datetime | None
    owner_disabled_at: datetime | None
    owner_roles: frozenset[str]
    key_verifies_until: datetime | None
    credential_is_good: bool
    token_is_revoked: bool


_COLUMNS = (
    service_accounts.c.id,
    service_accounts.c.owner_id,
    service_accounts.c.name,
    service_accounts.c.scopes,
    service_accounts.c.created_at,
    service_accounts.c.disabled_at,
)
_CREDENTIAL_IS_GOOD = select(
    exists().where(
        service_credentials.c.id == bindparam("credential_id"),
        service_credentials.c.account_id == service_accounts.c.id,
        service_credentials.c.revoked_at.is_(None),
        or_(service_credentials.c.expires_at.is_(None), service_credentials.c.expires_at > bindparam("now")),
    )
).scalar_subquery()
_TOKEN_IS_REVOKED = select(exists().where(token_revocations.c.token_id == bindparam("token_id"))).scalar_subquery()
_STANDING = Statement(
    select(
        service_accounts.c.id,
        service_accounts.c.owner_id,
        service_accounts.c.scopes,
        service_accounts.c.disabled_at,
        users.c.disabled_at,
        ROLES_OF_USER,
        KEY_VERIFIES_UNTIL,
        _CREDENTIAL_IS_GOOD,
        _TOKEN_IS_REVOKED,
    )
    .select_from(service_accounts.outerjoin(users, users.c.id == service_accounts.c.owner_id))
    .where(service_accounts.c.id == bindparam("account_id"))
)
_BY_ID = Statement(select(*_COLUMNS).where(service_accounts.c.id == bindparam("account_id")))
_INSERT = Statement(insert(service_accounts))
_COUNT = Statement(
    select(func.count())
    .select_from(service_accounts)
    .where(service_accounts.c.owner_id == bindparam("of_owner"), service_accounts.c.disabled_at.is_(None))
)
_DISABLE = Statement(
    update(service_accounts)
    .where(service_accounts.c.id == bindparam("account_id"), service_accounts.c.disabled_at.is_(None))
    .values(disabled_at=bindparam("instant"))
)


def _page(*, after: bool, owned: bool) -> Statement:
    query: Select[tuple[object, ...]] = (
        select(*_COLUMNS).order_by(service_accounts.c.id.desc()).limit(bindparam("limit"))
    )
    if owned:
        query = query.where(service_accounts.c.owner_id == bindparam("of_owner"))
    if after:
        query = query.where(service_accounts.c.id < bindparam("after"))
    return Statement(query)


_PAGES = {(after, owned): _page(after=after, owned=owned) for after in (False, True) for owned in (False, True)}


async def standing(
    reader: Reader, account_id: str, *, kid: str, credential_id: str, token_id: str, now: datetime
) -> ServiceStanding | None:
    """Return what decides about an account, the credential it used and the token that was made of it."""
    row = await reader.one(
        _STANDING,
        account_id=account_id,
        signed_by=kid,
        credential_id=credential_id,
        token_id=token_id,
        now=to_seconds(now),
    )
    return None if row is None else _standing(row)


async def find(reader: Reader, account_id: str) -> ServiceAccountRow | None:
    """Return the account with this id."""
    row = await reader.one(_BY_ID, account_id=account_id)
    return None if row is None else _account(row)


async def page(reader: Reader, *, owner_id: str | None, limit: int, after: str | None) -> list[ServiceAccountRow]:
    """Return accounts, the newest first, older than the id `after`: one owner's, or (None) all there are."""
    values: dict[str, object] = {"limit": limit}
    if owner_id is not None:
        values["of_owner"] = owner_id
    if after is not None:
        values["after"] = after
    return [_account(row) for row in await reader.all(_PAGES[after is not None, owner_id is not None], **values)]


async def count_of_owner(reader: Reader, owner_id: str) -> int:
    """Return how many accounts a person has that are not disabled."""
    row = await reader.one(_COUNT, of_owner=owner_id)
    return 0 if row is None else int(row[0])


async def add(tx: Transaction, account: ServiceAccountRow) -> None:
    """Add an account, which has no credential yet."""
    await tx.run(
        _INSERT,
        id=account.id,
        owner_id=account.owner_id,
        name=account.name,
        scopes=" ".join(sorted(account.scopes)),
        created_at=to_seconds(account.created_at),
        disabled_at=None,
    )


async def disable(tx: Transaction, account_id: str, now: datetime) -> bool:
    """Disable an account for good; return False when that was so already."""
    return await tx.run(_DISABLE, account_id=account_id, instant=to_seconds(now)) == 1


def _account(row: Row) -> ServiceAccountRow:
    return ServiceAccountRow(
        id=row[0],
        owner_id=row[1],
        name=row[2],
        scopes=frozenset(row[3].split()),
        created_at=from_seconds(row[4]),
        disabled_at=from_optional_seconds(row[5]),
    )


def _standing(row: Row) -> ServiceStanding:
    return ServiceStanding(
        account_id=row[0],
        owner_id=row[1],
        scopes=frozenset(row[2].split()),
        disabled_at=from_optional_seconds(row[3]),
        owner_disabled_at=from_optional_seconds(row[4]),
        owner_roles=frozenset((row[5] or "").split()),
        key_verifies_until=from_optional_seconds(row[6]),
        credential_is_good=bool(row[7]),
        token_is_revoked=bool(row[8]),
    )
