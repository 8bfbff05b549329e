"""The context of one operation: who calls, found out lazily and once, and what resolvers need besides."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

import strawberry

from auth import Auth
from auth.budgets import Budget
from auth.gate import Admission, Credential
from auth.identity import Identity, IdentityKind
from auth.origin import Origin
from auth.refusals import Reason, Unauthenticated
from auth.renewal import Grant
from auth.secret import Secret
from auth.sessions import Outgoing
from schema.prepared import Operation
from store import StoreUnavailable
from store.networks import network_of

# In points, as a field is one: to parse and validate a text takes as long as a hundred fields, or more if it is long.
NEW_DOCUMENT = 100
CHARACTERS_A_POINT = 10


class SessionCookies(Protocol):
    """The browser's cookies, as a resolver sees them: given, or taken away. `web` knows their names and flags."""

    def require(self) -> None:
        """Return if cookies can be set at all. Raises `CookiesNeedPost` where the transport has no way to.

        What sets or takes away cookies asks before it does anything else.
        """

    def give(self, grant: Grant, secret: Secret | None = None) -> None:
        """Give the browser an access token and, when a session has just begun, its secret."""

    def take_away(self) -> None:
        """Make the browser forget both."""


class Context:
    """What the context getter makes for every operation; `info.context` in resolvers."""

    budget: Budget | None = None  # what the operation was paid from, once it was
    operation: Operation | None = None  # what is run, once its document is known to be valid
    retry_after: int | None = None  # in seconds, once something in the operation was tried too often

    def __init__(
        self,
        *,
        auth: Auth,
        credential: Credential,
        origin: Origin,
        cookies: SessionCookies,
        request_id: str,
        services: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.auth = auth
        self.origin = origin
        self.cookies = cookies
        self.request_id = request_id
        self.services = services
        self._credential = credential
        self._refused: dict[tuple[str, str], Identity] = {}
        self._answer: Admission | Unauthenticated | StoreUnavailable | None = None

    async def authenticate(self) -> None:
        """Ask the gate, once; called before the first resolver runs, so that guards need not wait.

        A bad credential raises nothing here: public fields still run, and guarded ones say what was wrong with it.
        """
        if self._answer is not None:
            return
        try:
            self._answer = await self.auth.gate.authenticate(self._credential, self.origin)
        except (Unauthenticated, StoreUnavailable) as refusal:
            self._answer = refusal
        else:
            if self._answer.renewed is not None:
                self.cookies.give(self._answer.renewed)

    def become(self, identity: Identity) -> None:
        """Go on as somebody else: whoever has just logged in, or, after a logout, nobody."""
        self._answer = Admission(identity)

    def pay(self, cost: int) -> None:
        """Take what an operation costs from the caller's budget. Raises `RateLimited`."""
        spent = self.auth.budgets.spend(self._payer, cost)
        if spent is not None and self.budget is not None:
            spent = spent._replace(cost=spent.cost + self.budget.cost)
        self.budget = spent

    def pay_for_new_document(self, text: str) -> None:
        """Take what it costs to prepare a document that nobody sent before. Raises `RateLimited`."""
        self.pay(NEW_DOCUMENT + len(text) // CHARACTERS_A_POINT)

    def note_wait(self, seconds: int) -> None:
        """Keep that something in the operation was tried too often, and after how long it may be tried again."""
        self.retry_after = max(seconds, self.retry_after or 0)

    def note_refusal(self, act: str, reason: str) -> None:
        """Keep for the record that an act was refused to whoever calls at this point of the document.

        Of one request each act counts once, however many aliases it has.
        """
        match self._answer:
            case Admission(identity) if not identity.is_anonymous:
                self._refused.setdefault((act, reason), identity)

    async def reaffirm(self) -> None:
        """Look anew at who calls, as the rows have it now: an operation that goes on must not outlive its session.

        Raises `Unauthenticated`, and `StoreUnavailable`.
        """
        match self._answer:
            case None:
                known = None
            case Admission(known):
                pass
            case _:
                return  # who was not let in sees what is public, as before
        self._answer = Admission(await self.auth.gate.reaffirm(self._credential, self.origin, known=known))

    async def record_refusals(self) -> None:
        """Record what was refused to somebody known: it is what is tried with a credential that was stolen."""
        for (act, reason), identity in self._refused.items():
            await self.auth.audit.record_refusal(identity, act, reason)

    @property
    def identity(self) -> Identity:
        """Who calls, perhaps nobody. Raises `Unauthenticated` for a bad credential, and `StoreUnavailable`."""
        match self._answer:
            case Admission(identity):
                return identity
            case None:
                raise RuntimeError("the context was asked who calls before it was authenticated")
            case refusal:
                raise refusal.with_traceback(None)

    @property
    def identity_if_good(self) -> Identity:
        """Who calls, for public fields that may be called with a credential gone bad: then it is nobody.

        Raises `StoreUnavailable`: not to know who calls is no reason to take them for nobody, or a logout would say
        that it was done while the session lived on.
        """
        return self.nobody if isinstance(self._answer, Unauthenticated) else self.identity

    @property
    def _payer(self) -> Identity:
        return self._answer.identity if isinstance(self._answer, Admission) else self.nobody

    @property
    def is_strangers(self) -> bool:
        """Whether nobody known asks for it."""
        return self._payer.subject is None

    @property
    def payer_name(self) -> str:
        """For whom what is asked for counts: a person or a service account or, of strangers, their network."""
        return self._payer.subject or self.network

    @property
    def network(self) -> str:
        """The network by which the caller counts."""
        return network_of(self.origin.address) or ""

    @property
    def nobody(self) -> Identity:
        """The anonymous caller of this request."""
        return Identity(kind=IdentityKind.ANONYMOUS, origin=self.origin)

    @property
    def came_by_cookie(self) -> bool:
        """Whether the browser has cookies of ours, good or not."""
        shown = self._credential
        return bool(shown.shown_secrets) or (shown.by_cookie and shown.token is not None)

    @property
    def outgoing(self) -> Outgoing:
        """What the browser leaves behind when it logs out, or in anew. Raises `StoreUnavailable`."""
        return Outgoing(self.identity_if_good, self._credential.shown_secrets)

    @property
    def viewer(self) -> Identity:
        """Who calls, surely somebody. Raises `Unauthenticated`, and `StoreUnavailable`."""
        identity = self.identity
        if identity.is_anonymous:
            raise Unauthenticated(Reason.NOT_AUTHENTICATED)
        return identity


Info = strawberry.Info[Context, None]
