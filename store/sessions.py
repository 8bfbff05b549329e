"""Rows of sessions. Whether one may still be used is for `auth.sessions` to say; here is what it holds."""

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Select, bindparam, insert, literal_column, select, update

from store.database import Database, Reader, Row, Transaction
from store.instants import from_optional_seconds, from_seconds, to_seconds
from store.networks import network_of
from store.signing_keys import FOREVER, KEY_VERIFIES_UNTIL
from store.statements import Question, Statement
from store.tables import NO_ID, sessions, users
from store.users import ROLES_OF_USER


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as its owner sees it."""

    id: str
    user_id: str
    authentication_methods: tuple[str, ...]
    authenticated_at: datetime
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    device_name: str | None
    user_agent: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """All that decides, on each request, whether a session may be used and what for: one row, one read, no more."""

    session_id: str
    user_id: str
    authentication_methods: tuple[str, ...]
    authenticated_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    user_disabled_at: datetime | None
    roles: frozenset[str]
    refresh_counter: int
    key_verifies_until: datetime | None  # of the key that signed what was presented; None when that is gone


_COLUMNS = (
    sessions.c.id,
    sessions.c.user_id,
    sessions.c.authentication_methods,
    sessions.c.authenticated_at,
    sessions.c.created_at,
    sessions.c.last_seen_at,
    sessions.c.expires_at,
    sessions.c.revoked_at,
    sessions.c.device_name,
    sessions.c.user_agent,
    sessions.c.address,
)


def _session(row: Row) -> SessionRow:
    return SessionRow(
        id=row[0],
        user_id=row[1],
        authentication_methods=tuple(row[2].split()),
        authenticated_at=from_seconds(row[3]),
        created_at=from_seconds(row[4]),
        last_seen_at=from_seconds(row[5]),
        expires_at=from_seconds(row[6]),
        revoked_at=from_optional_seconds(row[7]),
        device_name=row[8],
        user_agent=row[9],
        address=row[10],
    )


# Most requests find the row as the last one of the same session found it; then there is nothing to read anew.
@lru_cache(maxsize=4096)
def _standing(row: Row) -> Standing:
    return Standing(
        session_id=row[0],
        user_id=row[1],
        authentication_methods=tuple(row[2].split()),
        authenticated_at=from_seconds(row[3]),
        last_seen_at=from_seconds(row[4]),
        expires_at=from_seconds(row[5]),
        revoked_at=from_optional_seconds(row[6]),
        user_disabled_at=from_optional_seconds(row[7]),
        roles=frozenset((row[8] or "").split()),
        refresh_counter=row[9],
        key_verifies_until=from_optional_seconds(row[10]),
    )


_STANDING = select(
    sessions.c.id,
    sessions.c.user_id,
    sessions.c.authentication_methods,
    sessions.c.authenticated_at,
    sessions.c.last_seen_at,
    sessions.c.expires_at,
    sessions.c.revoked_at,
    users.c.disabled_at,
    ROLES_OF_USER,
    sessions.c.refresh_counter,
).join(users, users.c.id == sessions.c.user_id)
_BY_TOKEN = Question(
    Statement(_STANDING.add_columns(KEY_VERIFIES_UNTIL).where(sessions.c.id == bindparam("session_id"))),
    ("session_id", "signed_by"),
    _standing,
)
_WITHOUT_KEY = _STANDING.add_columns(literal_column(str(FOREVER)))
_STANDING_BY_ID = Statement(_WITHOUT_KEY.where(sessions.c.id == bindparam("session_id")))
_BY_SECRET = Question(
    Statement(_WITHOUT_KEY.where(sessions.c.secret_digest == bindparam("digest"))), ("digest",), _standing
)
_ADVANCE = Statement(
    update(sessions)
    .where(sessions.c.id == bindparam("session_id"), sessions.c.refresh_counter <= bindparam("presented"))
    .values(
        refresh_counter=bindparam("next_counter"),
        last_seen_at=bindparam("instant"),
        address=bindparam("from_address"),
        network=bindparam("from_network"),
    )
)
_BY_ID = Statement(select(*_COLUMNS).where(sessions.c.id == bindparam("session_id")))
_INSERT = Statement(insert(sessions))
_TOUCH = Statement(
    update(sessions)
    .where(sessions.c.id == bindparam("session_id"))
    .values(last_seen_at=bindparam("instant"), address=bindparam("from_address"), network=bindparam("from_network"))
)
_SEEN_FROM = Statement(
    select(sessions.c.id)
    .where(sessions.c.user_id == bindparam("of_user"), sessions.c.network == bindparam("from_network"))
    .where(sessions.c.last_seen_at >= bindparam("since"))
    .limit(1)
)
_LIVE = (sessions.c.revoked_at.is_(None), sessions.c.expires_at > bindparam("now"))
_REVOKE = Statement(
    update(sessions).where(sessions.c.id == bindparam("session_id"), *_LIVE).values(revoked_at=bindparam("instant"))
)
_REVOKE_ALL_OF_USER = Statement(
    update(sessions)
    .where(sessions.c.user_id == bindparam("of_user"), sessions.c.id != bindparam("except_session"), *_LIVE)
    .values(revoked_at=bindparam("instant"))
)


def _page(*, after: bool) -> Statement:
    query: Select[tuple[object, ...]] = (
        select(*_COLUMNS)
        .where(sessions.c.user_id == bindparam("of_user"), *_LIVE)
        .where(sessions.c.last_seen_at > bindparam("seen_after"))
        .order_by(sessions.c.id.desc())
        .limit(bindparam("limit"))
    )
    return Statement(query.where(sessions.c.id < bindparam("after")) if after else query)


_PAGES = {after: _page(after=after) for after in (False, True)}


async def find(reader: Reader, session_id: str) -> SessionRow | None:
    """Return the session with this id, live or not."""
    row = await reader.one(_BY_ID, session_id=session_id)
    return None if row is None else _session(row)


async def standing(reader: Reader, session_id: str) -> Standing | None:
    """Return a session with its owner's state and roles, in one read."""
    row = await reader.one(_STANDING_BY_ID, session_id=session_id)
    return None if row is None else _standing(row)


def standing_by_secret(database: Database, digest: bytes) -> Awaitable[Standing | None]:
    """Return the session whose secret has this SHA-256, with its owner's state and roles."""
    return database.recall(_BY_SECRET, digest)


def standing_by_token(database: Database, session_id: str, kid: str) -> Awaitable[Standing | None]:
    """Return the session of an access token that the key `kid` signed, and until when that key is good."""
    return database.recall(_BY_TOKEN, session_id, kid)


async def page_of_user(
    reader: Reader, user_id: str, *, now: datetime, seen_after: datetime, limit: int, after: str | None
) -> list[SessionRow]:
    """Return a person's live sessions, the newest first, older than the id `after`, seen since `seen_after`."""
    values: dict[str, object] = {
        "of_user": user_id,
        "now": to_seconds(now),
        "seen_after": to_seconds(seen_after),
        "limit": limit,
    }
    if after is not None:
        values["after"] = after
    return [_session(row) for row in await reader.all(_PAGES[after is not None], **values)]


async def was_seen_from(reader: Reader, user_id: str | None, network: str, *, since: datetime) -> bool:
    """Say whether a session of a person's was last seen from this network, since then; ended ones count too.

    For nobody, None, it is asked all the same, so that the answer takes no other time.
    """
    row = await reader.one(_SEEN_FROM, of_user=user_id or NO_ID, from_network=network, since=to_seconds(since))
    return row is not None


async def add(tx: Transaction, session: SessionRow, *, secret_digest: bytes) -> None:
    """Add a session."""
    await tx.run(
        _INSERT,
        id=session.id,
        user_id=session.user_id,
        secret_digest=secret_digest,
        authentication_methods=" ".join(session.authentication_methods),
        authenticated_at=to_seconds(session.authenticated_at),
        created_at=to_seconds(session.created_at),
        last_seen_at=to_seconds(session.last_seen_at),
        expires_at=to_seconds(session.expires_at),
        revoked_at=None,
        device_name=session.device_name,
        user_agent=session.user_agent,
        address=session.address,
        network=network_of(session.address),
        refresh_counter=0,
    )


async def advance(tx: Transaction, session_id: str, presented: int, *, seen_at: datetime, address: str | None) -> bool:
    """Count a refresh: the next token is the one after `presented`; False when a later one is current already."""
    advanced = await tx.run(
        _ADVANCE,
        session_id=session_id,
        presented=presented,
        next_counter=presented + 1,
        instant=to_seconds(seen_at),
        from_address=address,
        from_network=network_of(address),
    )
    return advanced == 1


async def touch(tx: Transaction, session_id: str, *, seen_at: datetime, address: str | None) -> None:
    """Write down when, and from where, a session was last seen."""
    await tx.run(
        _TOUCH,
        session_id=session_id,
        instant=to_seconds(seen_at),
        from_address=address,
        from_network=network_of(address),
    )


async def revoke(tx: Transaction, session_id: str, now: datetime) -> bool:
    """End a live session; return False when there was none to end."""
    instant = to_seconds(now)
    return await tx.run(_REVOKE, session_id=session_id, now=instant, instant=instant) == 1


async def revoke_all_of_user(tx: Transaction, user_id: str, now: datetime, *, keep: str | None = None) -> int:
    """End a person's live sessions but the one to keep; return how many ended."""
    instant = to_seconds(now)
    return await tx.run(
        _REVOKE_ALL_OF_USER, of_user=user_id, except_session=keep or NO_ID, now=instant, instant=instant
    )
