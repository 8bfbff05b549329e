"""Which pages of the web may have a browser send us something: our own, and those that the operator names.

Cookies travel with every request to us, whoever's page had it sent. So the `Origin` of a request is compared whole,
scheme and port included, and where a browser does not send it, `Sec-Fetch-Site` has to say that it came from our own
page (ASVS 3.5.1). Programs that are no browsers send neither, and carry no cookies that they were not given.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from schema.errors import Code
from web.refused import RequestRefused
from web.request_headers import RequestHeaders
from web.shown import shown

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_FROM_OURSELVES = frozenset({"same-origin", "none"})

_VARY = (b"vary", b"Origin")
_EXPOSED = "x-request-id, retry-after, ratelimit, ratelimit-policy"
_TAKEN = (
    "content-type, authorization, apollo-require-preflight, graphql-require-preflight, x-apollo-operation-name, "
    "apollographql-client-name, apollographql-client-version"
)
_KEPT_SECONDS = "600"

_FOREIGN_ORIGIN = (
    "Pages of this origin may not call this API. If they should, its operator names the origin in "
    "WATCHWORD_ALLOWED_ORIGINS."
)
_FOREIGN_SITE = "This was sent by a page of another site, and without an Origin to know it by."

_LONGEST_ORIGIN = 200


class CrossSite:
    """Judges where a request comes from, and tells browsers which pages may read the answers."""

    def __init__(self, public_url: str, allowed_origins: Iterable[str] = ()) -> None:
        self._foreign = frozenset(allowed_origins)
        self._own = frozenset(_spellings(public_url))
        self._allowed = self._own | self._foreign

    def require_allowed(self, headers: RequestHeaders) -> None:
        """Return for a request from a page that is allowed, or from no page. Raises `RequestRefused`."""
        origin = headers.only(b"origin")
        if origin is not None:
            if origin not in self._allowed:
                raise _refused(_FOREIGN_ORIGIN, headers)
            return
        site = headers.only(b"sec-fetch-site")
        if site is not None and site not in _FROM_OURSELVES:
            raise _refused(_FOREIGN_SITE, headers)

    def headers_for(self, headers: RequestHeaders) -> list[tuple[bytes, bytes]]:
        """Return what lets a page of an allowed origin read the answer, and tells caches that it depends on that."""
        origin = headers.only(b"origin")
        if origin is None or origin not in self._foreign:
            return [_VARY]
        return [
            _VARY,
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", _EXPOSED.encode()),
        ]

    def answer_preflight(self, headers: RequestHeaders) -> list[tuple[bytes, bytes]] | None:
        """Return the headers that answer a preflight request (Fetch §3.3.3), or None where it is none."""
        if b"origin" not in headers or b"access-control-request-method" not in headers:
            return None
        self.require_allowed(headers)
        return [
            *self.headers_for(headers),
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-allow-headers", _TAKEN.encode()),
            (b"access-control-max-age", _KEPT_SECONDS.encode()),
        ]


def _refused(message: str, headers: RequestHeaders) -> RequestRefused:
    """Return a refusal; the log has the origin, which the operator looks for when it is one of theirs."""
    refused = RequestRefused(403, message, Code.CSRF_REFUSED)
    if (origin := headers.joined(b"origin")) is not None:
        refused.logged = {"origin": shown(origin, _LONGEST_ORIGIN)}
    return refused


def _spellings(public_url: str) -> list[str]:
    """Return our own origin; on this machine, by each of the names that a person may have typed."""
    read = urlsplit(public_url)
    own = f"{read.scheme}://{read.netloc}"
    if read.hostname not in {"127.0.0.1", "localhost", "::1"}:
        return [own]
    port = f":{read.port}" if read.port is not None else ""
    return [own, *(f"{read.scheme}://{name}{port}" for name in _LOOPBACK)]
