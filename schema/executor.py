"""graphql-core's executor as Strawberry's resolvers want it, with what is plain read at once.

No field of ours is deferred or streamed, and to be ready for it takes a tenth of a small operation.
"""

from typing import Any

from graphql.execution.executor_throwing_on_incremental import ExecutorThrowingOnIncremental
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from schema.plain_objects import Plans


class OperationExecutor(ExecutorThrowingOnIncremental):
    """Executes one operation."""

    operation_extensions: Any = None  # what Strawberry's `info` looks for
    plans: Plans | None = None

    build_resolve_info: Any = StrawberryGraphQLCoreExecutionContext.build_resolve_info

    def complete_object_value(self, return_type: Any, field_details_list: Any, *rest: Any) -> Any:
        """Complete an object: at once, if its selection is plain."""
        read = self._reading(return_type, field_details_list)
        if read is not None:
            try:
                return read(rest[2])
            except Exception:  # noqa: BLE001, S110 - graphql-core meets it again, and knows what to say of it and where
                pass
        return super().complete_object_value(return_type, field_details_list, *rest)

    def complete_list_value(self, return_type: Any, field_details_list: Any, *rest: Any) -> Any:
        """Complete a list: at once, if the selection of its items is plain."""
        read = self._reading(return_type, field_details_list)
        if read is not None:
            try:
                return read(rest[2])
            except Exception:  # noqa: BLE001, S110 - the same
                pass
        return super().complete_list_value(return_type, field_details_list, *rest)

    def _reading(self, return_type: Any, field_details_list: Any) -> Any:
        return None if self.plans is None else self.plans.reading(self, return_type, field_details_list)
