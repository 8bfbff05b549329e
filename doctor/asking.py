"""One request of a doctor's, and what is answered: from outside, as a client does it, and within a few seconds."""

import asyncio
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import httptools

_SECONDS = 5.0
_LARGEST_ANSWER = 64 * 1024


class Answer:
    """What came back; the parser calls it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, list[str]] = {}
        self.body = b""
        self.is_whole = False
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take what came over the wire. Raises `httptools.HttpParserError`."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.is_whole = True
        self.status = self._parser.get_status_code()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self.headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        self.body += data

    def on_message_complete(self) -> None:
        """Note that nothing more comes."""
        self.is_whole = True


async def ask(
    url: str, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Answer:
    """Return what is answered at a path of this origin.

    Raises OSError, of which `ssl.SSLCertVerificationError` and `TimeoutError` are some, and `httptools.HttpParserError`
    for what is not HTTP.
    """
    read = urlsplit(url)
    tls = ssl.create_default_context() if read.scheme == "https" else None
    lines = {"Host": read.netloc, "Connection": "close", "Content-Length": str(len(body)), **(headers or {})}
    head = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items()), "", ""]
    answer = Answer()
    async with asyncio.timeout(_SECONDS):
        port = read.port or (443 if tls else 80)
        reader, writer = await asyncio.open_connection(read.hostname, port, ssl=tls)
        try:
            writer.write("\r\n".join(head).encode() + body)
            received = 0
            while not answer.is_whole and received < _LARGEST_ANSWER and (data := await reader.read(_LARGEST_ANSWER)):
                received += len(data)
                answer.feed(data)
        finally:
            writer.transport.abort()
    return answer
