"""What may be asked, and by whom: Strawberry types, resolvers, permission classes and the context.

It knows nothing of HTTP and holds no SQL. What a domain's developer needs is here by name.
"""

from schema.build import Built, UnguardedField, build_schema
from schema.connections import Connection, connect
from schema.context import Context, Info
from schema.domain import Domain, DomainRefused
from schema.errors import BadInput
from schema.guards import Guard, IsAuthenticated, IsHuman, IsRecent, Public, has_role, has_scope

__all__ = [
    "BadInput",
    "Built",
    "Connection",
    "Context",
    "Domain",
    "DomainRefused",
    "Guard",
    "Info",
    "IsAuthenticated",
    "IsHuman",
    "IsRecent",
    "Public",
    "UnguardedField",
    "build_schema",
    "connect",
    "has_role",
    "has_scope",
]
