"""The two cookies of a browser's session: their names, their flags, and the one way to read them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from http.cookies import Morsel

from auth.clock import Clock
from auth.renewal import Grant
from auth.secret import Secret
from schema.errors import CookiesNeedPost


class CookieNames:
    """The names, which on https carry the prefix that binds a cookie to this host alone."""

    def __init__(self, *, secure: bool) -> None:
        self.secure = secure
        prefix = "__Host-watchword" if secure else "watchword"
        self.access = f"{prefix}-access"
        self.session = f"{prefix}-session"

    def read(self, headers: Iterable[str]) -> tuple[list[Secret], list[Secret]]:
        """Return every access token, and every session secret, in the Cookie headers; some may be empty."""
        found: dict[str, list[Secret]] = {self.access: [], self.session: []}
        for header in headers:
            for pair in header.split(";"):
                # RFC 6265 knows two blanks. Python's strip knows thirty, and behind one of the others a browser sees
                # no `__Host-`: a sibling domain may set such a cookie.
                name, _, value = pair.strip(" \t").partition("=")
                if name in found:
                    quoted = len(value) > 1 and value[0] == value[-1] == '"'
                    found[name].append(Secret(value[1:-1] if quoted else value))
        return found[self.access], found[self.session]


class ResponseCookies:
    """The cookies of one response; what resolvers know as `schema.context.SessionCookies`."""

    def __init__(self, names: CookieNames, clock: Clock) -> None:
        self._names = names
        self._clock = clock
        # By name: what this response said of a cookie before, such as a renewal on the way in, is no longer so.
        self._set: dict[str, str] = {}

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that set them."""
        return [(b"set-cookie", value.encode()) for value in self._set.values()]

    def require(self) -> None:
        """Return: there is a response that sets cookies."""

    def give(self, grant: Grant, secret: Secret | None = None) -> None:
        """Set the access token, for as long as it holds, and the secret of a session that has just begun."""
        self._write(self._names.access, grant.access_token.reveal(), grant.access_expires_at)
        if secret is not None:
            self._write(self._names.session, secret.reveal(), grant.session_expires_at)

    def take_away(self) -> None:
        """Make the browser forget both."""
        for name in (self._names.access, self._names.session):
            self._write(name, "", datetime.fromtimestamp(0, UTC))

    def _write(self, name: str, value: str, expires_at: datetime) -> None:
        cookie: Morsel[str] = Morsel()
        cookie.set(name, value, value)
        cookie["path"] = "/"
        cookie["max-age"] = str(max(0, int((expires_at - self._clock.now()).total_seconds())))
        cookie["httponly"] = True
        cookie["samesite"] = "Lax"
        if self._names.secure:
            cookie["secure"] = True
        self._set[name] = cookie.OutputString()


class NoCookies:
    """Stands where no response can set a cookie: on a socket, and on a stream that has begun.

    A browser's access token that is renewed there is renewed again by its next request: nothing is lost. What would be
    lost is asked for by `require`, before anything is done.
    """

    headers: tuple[tuple[bytes, bytes], ...] = ()

    def require(self) -> None:
        """Raise `CookiesNeedPost`."""
        raise CookiesNeedPost

    def give(self, grant: Grant, secret: Secret | None = None) -> None:
        """Let a renewal be."""

    def take_away(self) -> None:
        """Leave the browser's cookies as they are; what they named has ended."""
