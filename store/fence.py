"""The fence around a domain's migrations: what touches a table that is not the domain's is refused, and undone.

A guard rail for mistakes, and no sandbox: a migration is Python, and Python that wants to takes the fence down. Reading
the core's tables is allowed, because a backfill may need to.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from store import postgresql_fence, sqlite_fence
from store.namespaces import CORE, Namespace


class MigrationRefused(Exception):
    """A domain's migration wanted what is not its own; nothing of its namespace was applied."""


@contextmanager
def fenced(connection: Connection, namespace: Namespace) -> Iterator[None]:
    """Let a domain's migrations change its own tables only. Raises `MigrationRefused`, within their transaction."""
    if namespace is CORE:
        yield
        return
    fence: sqlite_fence.Fence | postgresql_fence.Fence
    if connection.dialect.name == "sqlite":
        fence = sqlite_fence.Fence(connection, namespace)
    else:
        fence = postgresql_fence.Fence(connection, namespace)
    with fence.standing():
        try:
            yield
            fence.look()
        except Exception:
            # Of several errors, the first refusal is what all others follow from.
            if fence.refused:
                raise MigrationRefused(_sentence(namespace, fence.refused[0])) from None
            raise
    if fence.refused:
        raise MigrationRefused(_sentence(namespace, fence.refused[0]))


def _sentence(namespace: Namespace, touched: str) -> str:
    return (
        f"a migration of the domain {namespace.name!r} ({namespace.folder}) touches {touched}; "
        f"its own tables are those named {namespace.name}_*"
    )
