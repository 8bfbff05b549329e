"""Rows of API tokens. The token itself is nowhere: its row is found by the `jti` that its signature vouches for."""

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Select, bindparam, func, insert, select, update

from store.database import Database, Reader, Row, Transaction
from store.instants import from_optional_seconds, from_seconds, to_seconds
from store.signing_keys import KEY_VERIFIES_UNTIL
from store.statements import Question, Statement
from store.tables import api_tokens, users
from store.users import ROLES_OF_USER


@dataclass(frozen=True, slots=True)
class ApiTokenRow:
    """An API token as its owner sees it."""

    id: str
    user_id: str
    name: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    last_used_address: str | None = None


@dataclass(frozen=True, slots=True)
class ApiTokenStanding:
    """All that decides, on each request, whether an API token may be used and what for."""

    user_id: str
    scopes: frozenset[str]
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    user_disabled_at: datetime | None
    roles: frozenset[str]
    key_verifies_until: datetime | None


_COLUMNS = (
    api_tokens.c.id,
    api_tokens.c.user_id,
    api_tokens.c.name,
    api_tokens.c.scopes,
    api_tokens.c.created_at,
    api_tokens.c.expires_at,
    api_tokens.c.revoked_at,
    api_tokens.c.last_used_at,
    api_tokens.c.last_used_address,
)
_STANDING = (
    select(
        api_tokens.c.user_id,
        api_tokens.c.scopes,
        api_tokens.c.expires_at,
        api_tokens.c.revoked_at,
        api_tokens.c.last_used_at,
        users.c.disabled_at,
        ROLES_OF_USER,
        KEY_VERIFIES_UNTIL,
    )
    .join(users, users.c.id == api_tokens.c.user_id)
    .where(api_tokens.c.id == bindparam("token_id"))
)


@lru_cache(maxsize=1024)
def _standing(row: Row) -> ApiTokenStanding:
    return ApiTokenStanding(
        user_id=row[0],
        scopes=frozenset(row[1].split()),
        expires_at=from_seconds(row[2]),
        revoked_at=from_optional_seconds(row[3]),
        last_used_at=from_optional_seconds(row[4]),
        user_disabled_at=from_optional_seconds(row[5]),
        roles=frozenset((row[6] or "").split()),
        key_verifies_until=from_optional_seconds(row[7]),
    )


_BY_JWT = Question(Statement(_STANDING), ("token_id", "signed_by"), _standing)
_BY_ID = Statement(select(*_COLUMNS).where(api_tokens.c.id == bindparam("token_id")))
_INSERT = Statement(insert(api_tokens))
_LIVE = (api_tokens.c.revoked_at.is_(None), api_tokens.c.expires_at > bindparam("now"))
_COUNT = Statement(
    select(func.count()).select_from(api_tokens).where(api_tokens.c.user_id == bindparam("of_user"), *_LIVE)
)
_REVOKE = Statement(
    update(api_tokens).where(api_tokens.c.id == bindparam("token_id"), *_LIVE).values(revoked_at=bindparam("instant"))
)
_TOUCH = Statement(
    update(api_tokens)
    .where(api_tokens.c.id == bindparam("token_id"))
    .values(last_used_at=bindparam("instant"), last_used_address=bindparam("from_address"))
)


def _page(*, after: bool) -> Statement:
    query: Select[tuple[object, ...]] = (
        select(*_COLUMNS)
        .where(api_tokens.c.user_id == bindparam("of_user"), *_LIVE)
        .order_by(api_tokens.c.id.desc())
        .limit(bindparam("limit"))
    )
    return Statement(query.where(api_tokens.c.id < bindparam("after")) if after else query)


_PAGES = {after: _page(after=after) for after in (False, True)}


def standing(database: Database, token_id: str, kid: str) -> Awaitable[ApiTokenStanding | None]:
    """Return what decides about the token with this `jti`, which the key `kid` signed."""
    return database.recall(_BY_JWT, token_id, kid)


async def find(reader: Reader, token_id: str) -> ApiTokenRow | None:
    """Return the token with this `jti`."""
    row = await reader.one(_BY_ID, token_id=token_id)
    return None if row is None else _token(row)


async def page_of_user(
    reader: Reader, user_id: str, *, now: datetime, limit: int, after: str | None
) -> list[ApiTokenRow]:
    """Return a person's live tokens, the newest first, older than the id `after`."""
    values: dict[str, object] = {"of_user": user_id, "now": to_seconds(now), "limit": limit}
    if after is not None:
        values["after"] = after
    return [_token(row) for row in await reader.all(_PAGES[after is not None], **values)]


async def count_of_user(reader: Reader, user_id: str, now: datetime) -> int:
    """Return how many live tokens a person has."""
    row = await reader.one(_COUNT, of_user=user_id, now=to_seconds(now))
    return 0 if row is None else int(row[0])


async def add(tx: Transaction, token: ApiTokenRow) -> None:
    """Add a token that was never used."""
    await tx.run(
        _INSERT,
        id=token.id,
        user_id=token.user_id,
        name=token.name,
        scopes=" ".join(sorted(token.scopes)),
        created_at=to_seconds(token.created_at),
        expires_at=to_seconds(token.expires_at),
        revoked_at=None,
        last_used_at=None,
        last_used_address=None,
    )


async def revoke(tx: Transaction, token_id: str, now: datetime) -> bool:
    """End a live token; return False when there was none to end."""
    instant = to_seconds(now)
    return await tx.run(_REVOKE, token_id=token_id, now=instant, instant=instant) == 1


async def touch(tx: Transaction, token_id: str, *, used_at: datetime, address: str | None) -> None:
    """Write down when, and from where, a token was last used."""
    await tx.run(_TOUCH, token_id=token_id, instant=to_seconds(used_at), from_address=address)


def _token(row: Row) -> ApiTokenRow:
    return ApiTokenRow(
        id=row[0],
        user_id=row[1],
        name=row[2],
        scopes=frozenset(row[3].split()),
        created_at=from_seconds(row[4]),
        expires_at=from_seconds(row[5]),
        revoked_at=from_optional_seconds(row[6]),
        last_used_at=from_optional_seconds(row[7]),
        last_used_address=row[8],
    )
