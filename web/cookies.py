"""The two cookies of a browser's session: their names, their flags, and the one way to read them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from http.cookies import Morsel

from starlette.datastructures import MutableHeaders

from auth.clock import Clock
from auth.renewal import Grant
from auth.secret import Secret


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
    """Writes the cookies onto one response; what resolvers know as `schema.context.SessionCookies`."""

    def __init__(self, names: CookieNames, headers: MutableHeaders, clock: Clock) -> None:
        self._names = names
        self._headers = headers
        self._clock = clock

    def give(self, grant: Grant, secret: Secret | None = None) -> None:
        """Set the access token, for as long as it holds, and the secret of a session that has just begun."""
        self._set(self._names.access, grant.access_token.reveal(), grant.access_expires_at)
        if secret is not None:
            self._set(self._names.session, secret.reveal(), grant.session_expires_at)

    def take_away(self) -> None:
        """Make the browser forget both."""
        for name in (self._names.access, self._names.session):
            self._set(name, "", datetime.fromtimestamp(0, UTC))

    def _set(self, name: str, value: str, expires_at: datetime) -> None:
        # Whatever this response said of the cookie before, such as a renewal on the way in, is no longer so.
        others = [header for header in self._headers.getlist("set-cookie") if header.partition("=")[0] != name]
        del self._headers["set-cookie"]
        for header in others:
            self._headers.append("set-cookie", header)
        cookie: Morsel[str] = Morsel()
        cookie.set(name, value, value)
        cookie["path"] = "/"
        cookie["max-age"] = str(max(0, int((expires_at - self._clock.now()).total_seconds())))
        cookie["httponly"] = True
        cookie["samesite"] = "Lax"
        if self._names.secure:
            cookie["secure"] = True
        self._headers.append("set-cookie", cookie.OutputString())
