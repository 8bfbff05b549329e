"""A request's body, whole and in time, or a coded refusal: nothing is kept that is too large or of another type."""

from starlette.types import Receive

from web.deadline import within
from web.refused import RequestRefused
from web.request_headers import RequestHeaders

LARGEST_BODY = 128 * 1024


def media_type_of(headers: RequestHeaders) -> str:
    """Return the media type of a body in UTF-8, or what is none: for two headers, or another character set."""
    header = headers.only(b"content-type") or ""
    return "application/json" if header == "application/json" else _media_type_in(header)


def _media_type_in(header: str) -> str:
    media_type, *parameters = header.lower().split(";")
    charsets = [value for name, _, value in (part.strip().partition("=") for part in parameters) if name == "charset"]
    return media_type.strip() if all(charset.strip('"') == "utf-8" for charset in charsets) else "another charset"


async def read_body(receive: Receive, headers: RequestHeaders, *, seconds: float, largest: int = LARGEST_BODY) -> bytes:
    """Return the whole body. Raises `RequestRefused` for one that is too large, encoded, too slow, or breaks off."""
    if headers.only(b"content-encoding") not in {None, "identity"}:
        # A kilobyte can unpack to a gigabyte, and no client of ours compresses a document.
        raise RequestRefused(415, "The body is sent as it is, without Content-Encoding.", accept_encoding="identity")
    announced = headers.only(b"content-length")
    if announced is not None and announced.isdecimal() and int(announced[:20]) > largest:
        raise _too_large(largest)
    try:
        return await within(seconds, _whole(receive, largest))
    except TimeoutError as error:
        raise RequestRefused(408, "The body did not arrive in time.", connection="close") from error


async def _whole(receive: Receive, largest: int) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestRefused(400, "The body broke off.")
        body += bytes(message.get("body", b""))
        _require_within(body, largest)
        if not message.get("more_body", False):
            return body


def _require_within(body: bytes, largest: int) -> None:
    if len(body) > largest:
        raise _too_large(largest)


def _too_large(largest: int) -> RequestRefused:
    return RequestRefused(413, f"The body has at most {largest} bytes.")
