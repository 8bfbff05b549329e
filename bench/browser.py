"""A browser as far as a measure needs one: it logs in, keeps the cookies, and knows how its requests look in bytes."""

from http.client import HTTPConnection
from http.cookies import SimpleCookie
from typing import Any

import orjson

from bench.accounts import HOST

Variables = dict[str, str]


class Browser:
    """Somebody in front of one server, with the cookies that it has set."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cookies: dict[str, str] = {}

    def ask(self, document: str, variables: Variables | None = None) -> bytes:
        """Return the body of an answer, and keep its cookies. Raises RuntimeError for any status but 200."""
        connection = HTTPConnection(HOST, self._port, timeout=30)
        try:
            connection.request("POST", "/graphql", _body(document, variables), self._headers())
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:  # noqa: PLR2004 - OK
            raise RuntimeError(f"{response.status}: {body!r}")
        for header in response.headers.get_all("set-cookie", []):
            self._cookies |= {name: morsel.value for name, morsel in SimpleCookie(header).items()}
        return body

    def log_in(self, document: str, email: str, password: str) -> None:
        """Become somebody. Raises RuntimeError when no cookie comes of it."""
        body = self.ask(document, {"email": email, "password": password})
        if not self._cookies:
            raise RuntimeError(f"nobody was logged in: {body!r}")

    def request(self, document: str, variables: Variables | None = None) -> bytes:
        """Return the same request as bytes, to be sent as often as one likes."""
        body = _body(document, variables)
        headers = {"Host": f"{HOST}:{self._port}", **self._headers(), "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST /graphql HTTP/1.1\r\n{head}\r\n".encode() + body

    def _headers(self) -> dict[str, str]:
        headers = {
            "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Accept": "application/graphql-response+json, application/json;q=0.9",
            "Content-Type": "application/json",
            "Origin": f"http://{HOST}:{self._port}",
            "Sec-Fetch-Site": "same-origin",
        }
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        return headers


def _body(document: str, variables: Variables | None) -> bytes:
    payload: dict[str, Any] = {"query": document}
    if variables is not None:
        payload["variables"] = variables
    return orjson.dumps(payload)
