"""Headers that every response carries, so that a page of ours can do no more than it has to."""

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# For pages: scripts, workers and connections from our own origin and nowhere else. Styles may be inline, because
# GraphiQL's editor writes them; nothing that runs may.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"

_DATA = (b"application/json", b"application/graphql-response+json", b"application/jwk-set+json", b"text/event-stream")

_ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
# They speak of windows and devices, and say nothing of data.
_PAGES_ONLY = {
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_HTTPS_ONLY = {"strict-transport-security": "max-age=63072000"}


class SecurityHeaders:
    """Adds them on the way out; on https also the one that keeps browsers on https."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        always = {**_ALWAYS, **(_HTTPS_ONLY if https else {})}
        self._for_pages = _encoded({**always, **_PAGES_ONLY, "content-security-policy": _PAGE_POLICY})
        self._for_data = _encoded({**always, "content-security-policy": _DATA_POLICY})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                message["headers"] = [*headers, *(self._for_data if _is_data(headers) else self._for_pages)]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _is_data(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    for name, value in headers:
        if name == b"content-type":
            return value.startswith(_DATA)
    return False


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
