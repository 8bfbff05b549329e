"""The one place that reads the clock. The rest is handed a `Clock`, so that tests move time and never wait."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Something that knows what time it is."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Keep the contract of `Clock.now`."""
        return datetime.now(UTC)
