"""What an identity is: tokens, keys, sessions, passwords, scopes and the gate. It knows nothing of HTTP or GraphQL.

Three kinds of module, never mixed. Primitives compute, with no store and no clock of their own: `jws`, `tokens`,
`keys`, `sealing`, `secret`, `ids`, `labels`, `password_rules`, `scopes`. Services decide, each act in one transaction:
`users`, `login`, `sessions`, `setup`, `key_ring`, and `passwords` with its threads. One `gate` turns a presented
credential into an `identity`. The rest are values and words: `identity`, `policy`, `refusals`, `faults`, and the
`clock`; `authority` puts all of it together.
"""

from auth.authority import Auth, open_auth

__all__ = ["Auth", "open_auth"]
