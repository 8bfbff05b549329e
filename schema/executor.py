"""graphql-core's executor as Strawberry's resolvers want it, without what delivers results in parts.

No field of ours is deferred or streamed, and to be ready for it takes a tenth of a small operation.
"""

from typing import Any

from graphql.execution.executor_throwing_on_incremental import ExecutorThrowingOnIncremental
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext


class OperationExecutor(ExecutorThrowingOnIncremental):
    """Executes one operation."""

    operation_extensions: Any = None  # what Strawberry's `info` looks for

    build_resolve_info: Any = StrawberryGraphQLCoreExecutionContext.build_resolve_info
