"""The gate: it turns the credential that was presented into an identity, or says why it does not."""

from dataclasses import dataclass

from auth.clock import Clock
from auth.identity import ANONYMOUS, Identity
from auth.key_ring import KeyRing
from auth.policy import Policy
from auth.refusals import Reason, Unauthenticated
from auth.secret import Secret
from auth.sessions import Device, Grant, Sessions
from auth.tokens import verify_access_token


@dataclass(frozen=True, slots=True)
class Credential:
    """What was presented: an access token, a session's secret, both, neither, or something that cannot be read.

    `shown_secrets` are all the session secrets that came along, also beside something that spoils them: they let nobody
    in, but they end their sessions (`auth.sessions.Outgoing`).
    """

    access_token: Secret | None = None
    session_secret: Secret | None = None
    fault: Reason | None = None
    shown_secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True)
class Admission:
    """Who calls, and the fresh access token that they were given on the way in, if theirs had expired."""

    identity: Identity
    renewed: Grant | None = None


class Gate:
    """Authenticates. A credential has three answers: none offered, good, and bad; bad never becomes anonymous."""

    def __init__(self, sessions: Sessions, key_ring: KeyRing, policy: Policy, clock: Clock) -> None:
        self._sessions = sessions
        self._key_ring = key_ring
        self._policy = policy
        self._clock = clock

    async def authenticate(self, credential: Credential, device: Device) -> Admission:
        """Return who presents this credential.

        Raises `Unauthenticated` with the reason for one that is bad, and `StoreUnavailable` when that cannot be found
        out: a database that does not answer logs nobody out.
        """
        if credential.fault is not None:
            raise Unauthenticated(credential.fault)
        if credential.access_token is None:
            return await self._renewed(credential.session_secret, device)
        try:
            claims = verify_access_token(
                credential.access_token.reveal(),
                self._key_ring.by_kid,
                issuer=self._policy.issuer,
                now=self._clock.now(),
            )
        except Unauthenticated as refusal:
            if refusal.reason is Reason.TOKEN_EXPIRED and credential.session_secret is not None:
                return await self._renewed(credential.session_secret, device)
            raise
        return Admission(await self._sessions.identify(claims))

    async def _renewed(self, session_secret: Secret | None, device: Device) -> Admission:
        if session_secret is None:
            return Admission(ANONYMOUS)
        grant = await self._sessions.renew(session_secret, device)
        return Admission(grant.identity, renewed=grant)
