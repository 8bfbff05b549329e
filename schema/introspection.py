"""Who may ask for the schema, by `__schema` and `__type`; `__typename` is everybody's."""

from enum import Enum

from graphql import GraphQLError

from auth.refusals import Forbidden, Reason, Unauthenticated
from schema.context import Context
from store import StoreUnavailable


class Introspection(Enum):
    """Who may. Errors name what may have been meant ("Did you mean…") where everybody may, and nowhere else."""

    EVERYBODY = "everybody"
    AUTHENTICATED = "authenticated"
    NOBODY = "nobody"

    @property
    def suggests(self) -> bool:
        """Whether an error may name parts of the schema that the document does not."""
        return self is Introspection.EVERYBODY

    def require(self, context: Context) -> None:
        """Raise `GraphQLError` unless whoever calls may; they were authenticated before.

        It is UNAUTHENTICATED for nobody and for a credential that is not good, and FORBIDDEN where nobody may.
        """
        try:
            if self is Introspection.NOBODY:
                raise Forbidden(Reason.INTROSPECTION_OFF)
            if self is Introspection.AUTHENTICATED:
                _ = context.viewer
        except (Forbidden, Unauthenticated, StoreUnavailable) as refused:
            raise GraphQLError(str(refused), original_error=refused) from refused
