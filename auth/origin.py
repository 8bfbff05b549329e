"""Where a request comes from, as far as it is known; it goes into what is recorded and decides nothing."""

from typing import NamedTuple

_LONGEST_USER_AGENT = 400


class Origin(NamedTuple):
    """An address, what the client says of itself, and the id under which the log knows the request."""

    address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None

    @property
    def short_user_agent(self) -> str | None:
        """What is kept of the user agent: a client may send megabytes."""
        return self.user_agent[:_LONGEST_USER_AGENT] if self.user_agent else None


NOWHERE = Origin()
