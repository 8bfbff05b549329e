"""Rows of throttles: for each key the millisecond at which its bucket is full again. A full bucket has no row."""

from collections.abc import Sequence

from sqlalchemy import BigInteger, bindparam, case, select, update
from sqlalchemy.dialects.postgresql import insert as insert_with_conflicts

from store.database import Reader, Transaction
from store.forgetting import delete_unheld
from store.statements import Statement
from store.tables import throttles

MOST_KEYS = 6  # of one attempt

# Each attempt adds no more rows than this takes away, so they do not pile up. All that a flood has left behind, taken
# away at once, would hold everybody up who wants to write.
PRUNED_AT_MOST = 16

_NAMES = tuple(f"key_{place}" for place in range(MOST_KEYS))
_BY_KEYS = Statement(
    select(throttles.c.key, throttles.c.full_at).where(throttles.c.key.in_([bindparam(name) for name in _NAMES]))
)
_INSERT = insert_with_conflicts(throttles)
_SET = Statement(
    _INSERT.on_conflict_do_update(index_elements=[throttles.c.key], set_={"full_at": _INSERT.excluded.full_at})
)
_NOW, _LATEST, _SPENT = (bindparam(name, type_=BigInteger) for name in ("now", "latest", "spent"))
_FIRST = insert_with_conflicts(throttles).values(key=bindparam("key"), full_at=_NOW + _SPENT)
_ADD = Statement(
    _FIRST.on_conflict_do_update(
        index_elements=[throttles.c.key],
        set_={
            "full_at": case(
                (throttles.c.full_at <= _NOW, _FIRST.excluded.full_at),
                (throttles.c.full_at > bindparam("implausible", type_=BigInteger), _FIRST.excluded.full_at),
                (throttles.c.full_at + _SPENT > _LATEST, _LATEST),
                else_=throttles.c.full_at + _SPENT,
            )
        },
    ).returning(throttles.c.full_at)
)
_BRING_FORWARD = Statement(
    update(throttles)
    .where(throttles.c.key == bindparam("of_key"))
    .values(full_at=throttles.c.full_at - bindparam("milliseconds"))
)
_PRUNE = Statement(
    delete_unheld(
        throttles.c.key,
        throttles.c.full_at <= bindparam("now"),
        at_most=PRUNED_AT_MOST,
        first=throttles.c.full_at,
    )
)


async def full_at(reader: Reader, keys: Sequence[bytes]) -> dict[bytes, int]:
    """Return when the buckets of these keys, six at most, are full again; those that are full may be missing."""
    padded = [*keys, *(keys[-1],) * (MOST_KEYS - len(keys))]
    rows = await reader.all(_BY_KEYS, **dict(zip(_NAMES, padded, strict=True)))
    return {row[0]: row[1] for row in rows}


async def put(tx: Transaction, key: bytes, full_at: int) -> None:
    """Write down when a bucket is full again."""
    await tx.run(_SET, key=key, full_at=full_at)


async def add(tx: Transaction, key: bytes, spent: int, *, now: int, latest: int, implausible: int) -> int:
    """Have a bucket full so many milliseconds later, but not after `latest`; return when that is, for all together.

    One whose row says that it is full later than is `implausible` is taken to be full.
    """
    ((full_at,),) = await tx.all(_ADD, key=key, spent=spent, now=now, latest=latest, implausible=implausible)
    return int(full_at)


async def bring_forward(tx: Transaction, key: bytes, milliseconds: int) -> None:
    """Have a bucket full so much earlier; one that has no row is full already."""
    await tx.run(_BRING_FORWARD, of_key=key, milliseconds=milliseconds)


async def prune(tx: Transaction, now: int) -> None:
    """Forget some of the buckets that are full."""
    await tx.run(_PRUNE, now=now)
