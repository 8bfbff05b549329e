"""On what terms something is made that outlives a session: for what its maker holds, and until when."""

from datetime import datetime, timedelta

from auth.faults import Fault, InputRefused

LONGEST_LIFE = timedelta(days=365)


def require_held(wanted: frozenset[str], held: frozenset[str]) -> None:
    """Raise `InputRefused` with SCOPES_MISSING or SCOPES_NOT_HELD: nobody gives what they have not."""
    if not wanted:
        raise InputRefused(Fault.SCOPES_MISSING)
    if not wanted <= held:
        raise InputRefused(Fault.SCOPES_NOT_HELD)


def expiry(chosen: datetime | None, now: datetime, *, usual: timedelta, longest: timedelta) -> datetime:
    """Return when something expires. Raises `InputRefused` with EXPIRY_INVALID."""
    if chosen is None:
        return (now + usual).replace(microsecond=0)
    if chosen.tzinfo is None or not now + timedelta(seconds=1) <= chosen <= now + longest:
        raise InputRefused(Fault.EXPIRY_INVALID)
    return chosen.replace(microsecond=0)
