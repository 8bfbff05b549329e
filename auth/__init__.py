"""What an identity is: tokens, keys, sessions, passwords, scopes and the gate. It knows nothing of HTTP or GraphQL.

Three kinds of module, never mixed. Primitives compute, with no store and no clock of their own: `jws`, `members`,
`tokens`, `assertions`, `refresh_tokens`, `keys`, `key_states`, `key_files`, `sealing`, `secret`, `ids`, `labels`,
`terms`, `password_rules`, `rates`, `scopes`, `service_standing`. Services decide, each act in one transaction and on
the record: `users`, `login`, `sessions`, `renewal`, `setup`, `key_ring`, `verifier`, `issuer`, `extra_claims`,
`api_tokens`, `service_accounts`, `service_login`, `service_tokens`, `token_status`, `audit`, `activity` and
`publications` (both stand on `following` and its `listener`), `throttles`, `budgets` in this process's memory with
their `budget_exchange`, and `passwords` with its threads. One `gate` turns a presented credential into an `identity`.
The rest are values and words: `identity`, `origin`, `policy`, `foundation`, `refusals`, `oauth_refusals`, `faults`, and
the `clock`; `authority` puts all of it together.
"""

from auth.authority import Auth, open_auth

__all__ = ["Auth", "open_auth"]
