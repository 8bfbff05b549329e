"""Rows of people: their names, password hashes and roles."""

from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import BindParameter, Select, and_, bindparam, delete, func, insert, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_with_conflicts

from store.database import Reader, Row, Transaction
from store.instants import from_optional_seconds, from_seconds, to_seconds
from store.statements import Statement
from store.tables import NO_ID, user_roles, users


@dataclass(frozen=True, slots=True)
class UserRow:
    """A person as stored; the password hash is in argon2's own encoding."""

    id: str
    email: str
    display_name: str
    password_hash: str
    created_at: datetime
    password_changed_at: datetime
    disabled_at: datetime | None
    roles: frozenset[str]

    def __repr__(self) -> str:
        return f"UserRow(id={self.id!r})"


# The separator is a literal column, for which the signature has no room: as a string it would be rendered only when
# the statement is executed by SQLAlchemy, and it never is.
ROLES_OF_USER = (
    select(func.aggregate_strings(user_roles.c.role, cast("str", literal_column("' '"))))
    .where(user_roles.c.user_id == users.c.id)
    .correlate(users)
    .scalar_subquery()
)

_COLUMNS = (
    users.c.id,
    users.c.email,
    users.c.display_name,
    users.c.password_hash,
    users.c.created_at,
    users.c.password_changed_at,
    users.c.disabled_at,
    ROLES_OF_USER,
)


def _user(row: Row) -> UserRow:
    return UserRow(
        id=row[0],
        email=row[1],
        display_name=row[2],
        password_hash=row[3],
        created_at=from_seconds(row[4]),
        password_changed_at=from_seconds(row[5]),
        disabled_at=from_optional_seconds(row[6]),
        roles=frozenset((row[7] or "").split()),
    )


_BY_ID = Statement(select(*_COLUMNS).where(users.c.id == bindparam("user_id")))
_BY_EMAIL = Statement(select(*_COLUMNS).where(users.c.email_key == bindparam("wanted_email_key")))
# The conflict clause is spelled alike on SQLite and PostgreSQL; Core only has it under a dialect's name.
_INSERT = Statement(insert_with_conflicts(users).on_conflict_do_nothing(index_elements=[users.c.email_key]))
_DELETE = Statement(delete(users).where(users.c.id == bindparam("user_id")))
_GRANT = Statement(insert(user_roles))
_WITHDRAW_ALL = Statement(delete(user_roles).where(user_roles.c.user_id == bindparam("of_user")))
_SET_PASSWORD = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.password_hash == bindparam("expected_hash"))
    .values(password_hash=bindparam("new_hash"), password_changed_at=bindparam("changed_at"))
)
_SET_DISABLED = Statement(
    update(users).where(users.c.id == bindparam("user_id")).values(disabled_at=bindparam("instant"))
)
_ANOTHER_IN_ROLE = Statement(
    select(user_roles.c.user_id)
    .join(users, users.c.id == user_roles.c.user_id)
    .where(user_roles.c.role == bindparam("wanted_role"), users.c.disabled_at.is_(None))
    .where(user_roles.c.user_id != bindparam("other_than"))
    .limit(1)
)


def _page(*, after: bool, search: bool) -> Statement:
    query: Select[tuple[object, ...]] = select(*_COLUMNS).order_by(users.c.id.desc()).limit(bindparam("limit"))
    if after:
        query = query.where(users.c.id < bindparam("after"))
    if search:
        low: BindParameter[str] = bindparam("search_from")
        high: BindParameter[str] = bindparam("search_below")
        query = query.where(
            or_(
                and_(users.c.email_key >= low, users.c.email_key < high),
                and_(users.c.display_name_key >= low, users.c.display_name_key < high),
            )
        )
    return Statement(query)


_PAGES = {(after, search): _page(after=after, search=search) for after in (False, True) for search in (False, True)}


async def find(reader: Reader, user_id: str) -> UserRow | None:
    """Return the person with this id."""
    row = await reader.one(_BY_ID, user_id=user_id)
    return None if row is None else _user(row)


async def find_by_email(reader: Reader, email_key: str) -> UserRow | None:
    """Return the person with this case-folded address."""
    row = await reader.one(_BY_EMAIL, wanted_email_key=email_key)
    return None if row is None else _user(row)


async def page(reader: Reader, *, limit: int, after: str | None, prefix: str | None) -> list[UserRow]:
    """Return people, the newest first, older than the id `after`, whose address or name begins with `prefix`."""
    values: dict[str, object] = {"limit": limit}
    if after is not None:
        values["after"] = after
    if prefix is not None:
        # A range instead of LIKE: it uses the index on both engines, and no letter of the reader's is a wildcard.
        values |= {"search_from": prefix, "search_below": prefix + "\U0010ffff"}
    return [_user(row) for row in await reader.all(_PAGES[after is not None, prefix is not None], **values)]


async def insert_unless_taken(
    tx: Transaction,
    *,
    user_id: str,
    email: str,
    email_key: str,
    display_name: str,
    password_hash: str,
    roles: frozenset[str],
    now: datetime,
) -> bool:
    """Add a person with roles; return False, and add nothing, when the address is taken."""
    instant = to_seconds(now)
    added = await tx.run(
        _INSERT,
        id=user_id,
        email=email,
        email_key=email_key,
        display_name=display_name,
        display_name_key=display_name.casefold(),
        password_hash=password_hash,
        password_changed_at=instant,
        created_at=instant,
        disabled_at=None,
    )
    if not added:
        return False
    await _grant(tx, user_id, roles, now)
    return True


async def delete_user(tx: Transaction, user_id: str) -> None:
    """Remove a person and everything that belongs to them."""
    await tx.run(_DELETE, user_id=user_id)


async def set_roles(tx: Transaction, user_id: str, roles: frozenset[str], now: datetime) -> None:
    """Make these the person's roles, and no others."""
    await tx.run(_WITHDRAW_ALL, of_user=user_id)
    await _grant(tx, user_id, roles, now)


async def set_password(tx: Transaction, user_id: str, *, expected: str, new: str, changed_at: datetime) -> bool:
    """Replace the password hash; return False when it is no longer the expected one."""
    touched = await tx.run(
        _SET_PASSWORD, user_id=user_id, expected_hash=expected, new_hash=new, changed_at=to_seconds(changed_at)
    )
    return touched == 1


async def set_disabled(tx: Transaction, user_id: str, disabled_at: datetime | None) -> bool:
    """Disable a person from an instant on, or enable them (None); return False when there is no such person."""
    instant = None if disabled_at is None else to_seconds(disabled_at)
    return await tx.run(_SET_DISABLED, user_id=user_id, instant=instant) == 1


async def someone_has_role(reader: Reader, role: str, *, other_than: str = NO_ID) -> bool:
    """Say whether an enabled person, other than the one named, has the role."""
    return await reader.one(_ANOTHER_IN_ROLE, wanted_role=role, other_than=other_than) is not None


async def _grant(tx: Transaction, user_id: str, roles: frozenset[str], now: datetime) -> None:
    for role in sorted(roles):
        await tx.run(_GRANT, user_id=user_id, role=role, granted_at=to_seconds(now))
