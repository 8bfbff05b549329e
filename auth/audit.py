"""The record of what was done: each act is a row, written in the transaction that did it.

What somebody typed is never in it, nor a secret: a wrong address may be a password in the wrong field.
"""

from collections import Counter
from contextlib import suppress
from enum import Enum
from functools import partial

import structlog

import store.audit_events
from auth.clock import Clock
from auth.identity import Identity
from auth.ids import is_id, new_id
from auth.origin import Origin
from auth.refusals import Forbidden, Reason, Unauthenticated
from store import StoreUnavailable, Transaction
from store.audit_events import AuditEventRow
from store.watched import WatchedDatabase

_log = structlog.get_logger("watchword.audit")


class Act(Enum):
    """What can be recorded, `subject:verb`, each with the sentence that a person reads."""

    USER_CREATE = ("user:create", "An account was made.")
    USER_REPEAT = ("user:repeat", "Somebody tried to sign up with an address that has an account.")
    USER_DISABLE = ("user:disable", "An account was disabled, and its sessions were ended.")
    USER_ENABLE = ("user:enable", "A disabled account was enabled.")
    ROLES_SET = ("roles:set", "The roles of an account were set.")
    PASSWORD_CHANGE = ("password:change", "A password was changed, and the other sessions were ended.")
    LOGIN_FAIL = ("login:fail", "A login failed.")
    SESSION_START = ("session:start", "Somebody logged in.")
    SESSION_REFRESH = ("session:refresh", "A refresh token was exchanged for the next one.")
    SESSION_REUSE = ("session:reuse", "A refresh token was used again that had been replaced; the session was ended.")
    SESSION_REVOKE = ("session:revoke", "A session was ended from elsewhere.")
    SESSION_END = ("session:end", "Somebody logged out, or in anew with the same browser.")
    API_TOKEN_CREATE = ("api-token:create", "An API token was made.")
    API_TOKEN_REVOKE = ("api-token:revoke", "An API token was revoked.")
    SERVICE_CREATE = ("service:create", "A service account was made.")
    SERVICE_DISABLE = ("service:disable", "A service account was disabled, and its tokens with it.")
    SERVICE_LOGIN = ("service:login", "A service account was given an access token.")
    SERVICE_FAIL = ("service:fail", "Somebody failed to authenticate as a service account.")
    CREDENTIAL_CREATE = ("credential:create", "A service account was given a secret or a key.")
    CREDENTIAL_REVOKE = ("credential:revoke", "A secret or a key of a service account was revoked.")
    ACCESS_TOKEN_REVOKE = ("access-token:revoke", "An access token of a service account was revoked.")
    SIGNING_KEY_ROTATE = ("signing-key:rotate", "Another key was chosen to sign.")
    SIGNING_KEY_REVOKE = ("signing-key:revoke", "A signing key was revoked, and every token that it signed.")
    AUDIT_PRUNE = ("audit:prune", "Events were removed that were older than the record is kept for.")
    DATABASE_RESTORE = ("database:restore", "A backup was put in the place of the database.")
    ACT_REFUSE = ("act:refuse", "An act was refused to somebody who was not allowed to do it.")

    def __init__(self, action: str, sentence: str) -> None:
        self.action = action
        self.sentence = sentence


# What administrators do to others. From where they work is not the business of those whom it concerns.
OF_ADMINISTRATORS = frozenset(
    {Act.ROLES_SET, Act.USER_DISABLE, Act.USER_ENABLE, Act.SERVICE_DISABLE, Act.CREDENTIAL_REVOKE}
)

_OWN = "activity:read"
_EVERYTHING = "audit:read"

_BY_ACTION = {act.action: act for act in Act}


def act_of(action: str) -> Act:
    """Return the act that a row names."""
    return _BY_ACTION[action]


class Audit:
    """Records acts, and shows them to those whom they concern.

    `acts` is how often this process did each of them. Where `is_logged`, each is a line of log too, once it is certain.
    """

    def __init__(self, database: WatchedDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.acts: Counter[Act] = Counter()
        self.is_logged = False

    async def record(
        self,
        tx: Transaction,
        act: Act,
        by: Identity | Origin,
        *,
        concerning: str | None = None,
        what: str | None = None,
        detail: str | None = None,
        via: str | None = None,
    ) -> None:
        """Record an act within its transaction.

        `by` is who did it or, of somebody unknown, whence; `concerning` the account that may read of it; `what` the id
        of the session, token, credential or key; `detail` a reason or names from closed lists; `via` what they came in
        by, if it is not the identity's session or token.
        """
        known = by if isinstance(by, Identity) else None
        origin = by.origin if isinstance(by, Identity) else by
        row = AuditEventRow(
            id=new_id(),
            at=self._clock.now(),
            action=act.action,
            actor_id=known.subject if known else None,
            via_id=via or (known and (known.session_id or known.token_id)),
            subject_id=concerning,
            object_id=what,
            detail=detail,
            address=origin.address,
            user_agent=origin.short_user_agent,
            request_id=origin.request_id,
        )
        await store.audit_events.add(tx, row)
        self._database.after_commit(tx, partial(self._committed, act, row))

    async def record_alone(self, act: Act, by: Identity | Origin, **more: str | None) -> None:
        """Record what changed nothing, such as a failure. Raises `StoreUnavailable`."""
        async with self._database.transaction() as tx:
            await self.record(tx, act, by, **more)

    async def record_refusal(self, identity: Identity, act: str, reason: str) -> None:
        """Record that an act was refused. It was, also when the database does not take the record."""
        with suppress(StoreUnavailable):
            await self.record_alone(Act.ACT_REFUSE, identity, concerning=identity.subject, detail=f"{act}: {reason}")

    def _committed(self, act: Act, row: AuditEventRow) -> None:
        self.acts[act] += 1
        if self.is_logged:
            # Not the user agent, which is whatever a stranger wrote: the row has it.
            _log.info(
                "audit",
                id=row.id,
                act=row.action,
                actor=row.actor_id,
                via=row.via_id,
                subject=row.subject_id,
                object=row.object_id,
                detail=row.detail,
                address=row.address,
                request_id=row.request_id,
            )

    async def own(self, identity: Identity, *, limit: int, after: str | None) -> list[AuditEventRow]:
        """Return what concerns the caller, the newest first, older than the id `after`."""
        if identity.subject is None:
            return []
        return await store.audit_events.page(self._database, subject_id=identity.subject, limit=limit, after=after)

    async def page(self, identity: Identity, *, limit: int, after: str | None) -> list[AuditEventRow]:
        """Return what anybody did, the newest first, for a caller with `audit:read`."""
        if _EVERYTHING not in identity.scopes:
            return []
        return await store.audit_events.page(self._database, subject_id=None, limit=limit, after=after)

    async def find(self, identity: Identity, event_id: str) -> AuditEventRow | None:
        """Return an event that the caller may see."""
        event = await store.audit_events.find(self._database, event_id) if is_id(event_id) else None
        if event is None or _EVERYTHING in identity.scopes:
            return event
        return event if event.subject_id == identity.subject and _OWN in identity.scopes else None


def require_own(identity: Identity) -> str:
    """Return whose record the caller may read as their own. Raises `Unauthenticated` and `Forbidden`."""
    if identity.subject is None:
        raise Unauthenticated(Reason.NOT_AUTHENTICATED)
    if not {_OWN, _EVERYTHING} & identity.scopes:
        raise Forbidden(Reason.INSUFFICIENT_SCOPE, required=[_OWN], granted=identity.scopes)
    return identity.subject


def require_everything(identity: Identity) -> None:
    """Return if the caller may read what anybody did. Raises `Forbidden`."""
    if _EVERYTHING not in identity.scopes:
        raise Forbidden(Reason.INSUFFICIENT_SCOPE, required=[_EVERYTHING], granted=identity.scopes)
