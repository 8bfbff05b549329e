"""What tracing is, for those who are traced: `web.traces` does it, where it is wanted and its packages are there."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from starlette.types import ASGIApp

from auth import Auth
from web.metrics_counts import Counts
from web.socket_operations import Followed


class Tracing(Protocol):
    """Stands around what it traces from the start on, so that where there is none, nothing asks for it."""

    def around(self, app: ASGIApp, counts: Counts) -> ASGIApp:
        """Return an application that does the same, traced; operations have the names that they are counted under."""

    def followed(self, schema: Followed, counts: Counts) -> Followed:
        """Return what runs the operations of a socket, traced."""

    def running(self, auth: Auth) -> AbstractAsyncContextManager[None]:
        """Trace what these services do, too, and send what was traced, while the block runs."""
