"""The gate: it turns the credential that was presented into an identity, or says why it does not."""

from typing import NamedTuple

from auth.api_tokens import ApiTokens
from auth.clock import Clock
from auth.identity import Identity, IdentityKind
from auth.origin import NOWHERE, Origin
from auth.refusals import Reason, SigningKeyRevoked, Unauthenticated
from auth.renewal import Grant, Renewal
from auth.secret import Secret
from auth.service_tokens import ServiceTokens
from auth.sessions import Sessions
from auth.tokens import Claims, TokenKind
from auth.verifier import Verifier

# A session that lives is given a new access token when the one it shows was good once: it has expired, or the key that
# signed it was revoked.
_RENEWABLE = frozenset({Reason.TOKEN_EXPIRED, Reason.TOKEN_REVOKED})


class Credential(NamedTuple):
    """What was presented: a token, a session's secret, both, neither, or something that cannot be read.

    `by_cookie` says that the token came along by itself, as cookies do. `shown_secrets` are all the session secrets
    that came along, also beside something that spoils them: they let nobody in, but they end their sessions
    (`auth.sessions.Outgoing`).
    """

    token: Secret | None = None
    session_secret: Secret | None = None
    fault: Reason | None = None
    shown_secrets: tuple[Secret, ...] = ()
    by_cookie: bool = False


class Admission(NamedTuple):
    """Who calls, and the fresh access token that they were given on the way in, if theirs had expired."""

    identity: Identity
    renewed: Grant | None = None


class Gate:
    """Authenticates. A credential has three answers: none offered, good, and bad; bad never becomes anonymous."""

    def __init__(  # noqa: PLR0917 - it is where everything meets
        self,
        verifier: Verifier,
        sessions: Sessions,
        renewal: Renewal,
        api_tokens: ApiTokens,
        service_tokens: ServiceTokens,
        clock: Clock,
    ) -> None:
        self._verifier = verifier
        self._sessions = sessions
        self._renewal = renewal
        self._api_tokens = api_tokens
        self._service_tokens = service_tokens
        self._clock = clock

    @property
    def tokens_recalled(self) -> int:
        """How many tokens had been verified before."""
        return self._verifier.recalled

    @property
    def tokens_verified(self) -> int:
        """How many tokens had to be verified, good ones and bad."""
        return self._verifier.asked

    async def authenticate(self, credential: Credential, origin: Origin = NOWHERE) -> Admission:
        """Return who presents this credential.

        Raises `Unauthenticated` with the reason for one that is bad, and `StoreUnavailable` when that cannot be found
        out: a database that does not answer logs nobody out.
        """
        if credential.fault is not None:
            raise Unauthenticated(credential.fault)
        if credential.token is None:
            return await self._renewed(credential.session_secret, origin)
        try:
            now = self._clock.now()
            claims = self._verifier.recall(credential.token, now) or await self._verifier.verify(credential.token, now)
            if claims.session_id is not None:
                return Admission(await self._sessions.identify(claims, origin, now))
            _require_carried(claims, credential)
            return Admission(await self.admit(claims, origin, is_use=True))
        except Unauthenticated as refusal:
            self._forget_key_of(refusal)
            if refusal.reason in _RENEWABLE and credential.session_secret is not None:
                return await self._renewed(credential.session_secret, origin)
            raise

    async def reaffirm(
        self, credential: Credential, origin: Origin = NOWHERE, *, known: Identity | None = None
    ) -> Identity:
        """Return who presents a credential that was let in before, for an operation that goes on: as the rows are now.

        Nothing is renewed, nothing is written, and no signature is verified again that need not be. A token that has
        expired since is good for as long as the session whose secret came with it; one that came alone is not. `known`
        is who was let in: anybody else is refused. Raises as `authenticate` does.
        """
        identity = await self._reaffirmed(credential, origin)
        if known is not None and _bearer(identity) != _bearer(known):
            # Two cookies of two sessions: what one was let in for must not go on for the other.
            raise Unauthenticated(Reason.TOKEN_EXPIRED)
        return identity

    async def _reaffirmed(self, credential: Credential, origin: Origin) -> Identity:
        if credential.fault is not None:
            raise Unauthenticated(credential.fault)
        token, secret, now = credential.token, credential.session_secret, self._clock.now()
        try:
            claims = None if token is None else self._verifier.recall(token, now)
            if claims is None and token is not None and secret is None:
                claims = await self._verifier.verify(token, now)
            if claims is not None:
                _require_carried(claims, credential)
                return await self.admit(claims, origin)
        except Unauthenticated as refusal:
            self._forget_key_of(refusal)
            if refusal.reason not in _RENEWABLE or secret is None:
                raise
        if secret is None:
            return Identity(kind=IdentityKind.ANONYMOUS, origin=origin)
        return await self._sessions.identify_holder(secret, origin, now)

    async def verify(self, token: Secret) -> Claims:
        """Return what a token says, whoever shows it. Raises `Unauthenticated` and `StoreUnavailable`."""
        now = self._clock.now()
        return self._verifier.recall(token, now) or await self._verifier.verify(token, now)

    async def admit(self, claims: Claims, origin: Origin, *, is_use: bool = False) -> Identity:
        """Return who a verified token stands for at this moment, which its row decides. Raises as `authenticate`."""
        match claims.kind:
            case TokenKind.SESSION:
                return await self._sessions.identify(claims, origin, self._clock.now())
            case TokenKind.SERVICE:
                return await self._service_tokens.identify(claims, origin)
            case TokenKind.API:
                return await self._api_tokens.identify(claims, origin, is_use=is_use)

    def _forget_key_of(self, refusal: Unauthenticated) -> None:
        if isinstance(refusal, SigningKeyRevoked):
            self._verifier.forget_key(refusal.kid)

    async def _renewed(self, session_secret: Secret | None, origin: Origin) -> Admission:
        if session_secret is None:
            return Admission(Identity(kind=IdentityKind.ANONYMOUS, origin=origin))
        grant = await self._renewal.renew(session_secret, origin)
        return Admission(grant.identity, renewed=grant)


def _require_carried(claims: Claims, credential: Credential) -> None:
    """Raise `Unauthenticated` for a token that was made for scripts and came as a cookie.

    Such a token travels where a script puts it, and never by itself.
    """
    if claims.session_id is None and credential.by_cookie:
        raise Unauthenticated(Reason.TOKEN_INVALID)


def _bearer(identity: Identity) -> tuple[str | None, str | None, str | None]:
    return identity.subject, identity.session_id, identity.token_id
