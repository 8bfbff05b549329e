"""Where each key of the ring stands at an instant: computed from the rows, the same in every process."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from store.signing_keys import SigningKeyRow


class KeyState(Enum):
    """Where a key stands in its life; the value says what that means."""

    NEXT = "published, and not yet signing"
    CURRENT = "signing"
    RETIRED = "not signing, and kept until the last token that it signed has expired"
    REVOKED = "refused, with every token that it signed"


@dataclass(frozen=True, slots=True)
class KeyStanding:
    """A key of the ring as an operator sees it."""

    kid: str
    algorithm: str
    state: KeyState
    created_at: datetime
    signs_from: datetime | None
    verifies_until: datetime | None


def verifies(row: SigningKeyRow, now: datetime) -> bool:
    """Say whether what a key signed is still taken."""
    return row.revoked_at is None and (row.verifies_until is None or now < row.verifies_until)


def current_of(rows: Iterable[SigningKeyRow], now: datetime) -> SigningKeyRow | None:
    """Return the key that signs: of those whose turn has come, the last."""
    begun = [(row.signs_from, row) for row in rows if row.signs_from and row.signs_from <= now and verifies(row, now)]
    return max(begun, key=lambda candidate: candidate[0])[1] if begun else None


def unscheduled_of(rows: Iterable[SigningKeyRow]) -> SigningKeyRow | None:
    """Return the key that is published and has no turn yet."""
    return next((row for row in rows if row.signs_from is None and row.revoked_at is None), None)


def waiting_of(rows: Iterable[SigningKeyRow], now: datetime) -> SigningKeyRow | None:
    """Return the key that has its turn already, at a time to come."""
    return next((row for row in rows if row.signs_from and row.signs_from > now and row.revoked_at is None), None)


def standing_of(row: SigningKeyRow, rows: Sequence[SigningKeyRow], now: datetime) -> KeyStanding:
    """Return how a key of these rows stands at an instant."""
    if row.revoked_at is not None:
        state = KeyState.REVOKED
    elif row == current_of(rows, now):
        state = KeyState.CURRENT
    elif row.signs_from is None or row.signs_from > now:
        state = KeyState.NEXT
    else:
        state = KeyState.RETIRED
    return KeyStanding(row.kid, row.algorithm, state, row.created_at, row.signs_from, row.verifies_until)
