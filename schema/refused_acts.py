"""What was refused to somebody known is noted for the record, at every field of `Mutation`.

An act is a mutation: that somebody may not read a field is not worth a row.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from strawberry.extensions import FieldExtension
from strawberry.extensions.field_extension import AsyncExtensionResolver, SyncExtensionResolver

from auth.refusals import Conflict, Forbidden
from schema.context import Info


class NotesRefusals(FieldExtension):
    """Stands outside the field's guards, so that it hears of their refusals and of the service's alike."""

    def resolve(self, next_: SyncExtensionResolver, source: Any, info: Any, **arguments: Any) -> Any:
        """Keep Strawberry's contract for a resolver that does not wait."""
        with _noted(info):
            return next_(source, info, **arguments)

    async def resolve_async(self, next_: AsyncExtensionResolver, source: Any, info: Any, **arguments: Any) -> Any:
        """Keep Strawberry's contract for a resolver that waits."""
        with _noted(info):
            return await next_(source, info, **arguments)


@contextmanager
def _noted(info: Info) -> Iterator[None]:
    try:
        yield
    except (Conflict, Forbidden) as refusal:
        info.context.note_refusal(info.field_name, refusal.reason.name)
        raise
