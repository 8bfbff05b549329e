"""What every service stands on."""

from dataclasses import dataclass

from auth.audit import Audit
from auth.clock import Clock
from auth.policy import Policy
from auth.scopes import Rights
from store import Database


@dataclass(frozen=True, slots=True)
class Foundation:
    """The store, the clock, the operator's rules, what can be allowed, and the record of what was done."""

    database: Database
    clock: Clock
    policy: Policy
    rights: Rights
    audit: Audit
