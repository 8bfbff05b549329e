"""What may be asked, and by whom: Strawberry types, resolvers, permission classes and the context.

It knows nothing of HTTP and holds no SQL. What a domain's developer needs is here by name.
"""

from auth.refusals import Forbidden, NotFound
from schema.build import Built, UnguardedField, build_schema
from schema.connections import USUAL_PAGE, After, Connection, First, connect
from schema.context import Context, Info
from schema.domain import Domain, DomainRefused
from schema.errors import BadInput
from schema.guards import Guard, IsAuthenticated, IsHuman, IsRecent, Public, has_role, has_scope
from schema.node import id_within

__all__ = [
    "USUAL_PAGE",
    "After",
    "BadInput",
    "Built",
    "Connection",
    "Context",
    "Domain",
    "DomainRefused",
    "First",
    "Forbidden",
    "Guard",
    "Info",
    "IsAuthenticated",
    "IsHuman",
    "IsRecent",
    "NotFound",
    "Public",
    "UnguardedField",
    "build_schema",
    "connect",
    "has_role",
    "has_scope",
    "id_within",
]
