"""Where rows are kept: tables, statements and migrations behind one protocol.

The store knows rows, not rules: it never decides whether a session may be used, it only says what its row holds.
It knows nothing of HTTP, GraphQL or tokens, and it has no clock: every instant comes in as an argument.
"""

from store.database import Changes, Database, Reader, StoreUnavailable, Transaction
from store.statements import Statement

__all__ = ["Changes", "Database", "Reader", "Statement", "StoreUnavailable", "Transaction"]
