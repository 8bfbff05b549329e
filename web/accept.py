"""Which media type a client takes, of those that an answer can have (GraphQL over HTTP §6; RFC 9110 §12.5.1)."""

import re
from functools import lru_cache
from typing import NamedTuple

GRAPHQL_RESPONSE = "application/graphql-response+json"
JSON = "application/json"
EVENT_STREAM = "text/event-stream"
_PAGE = "text/html"


class Accepted(NamedTuple):
    """The media type of a single answer, None if the client takes none of ours; and whether it takes others by name."""

    single: str | None
    takes_stream: bool
    takes_page: bool


_ANYTHING = Accepted(JSON, takes_stream=False, takes_page=False)

_QUALITY = re.compile(r"[01](?:\.[0-9]{0,3})?", re.ASCII)

# What is remembered by what strangers write is cut off first.
_LONGEST = 1000


def read_accept(header: str | None) -> Accepted:
    """Read an `Accept` header; one that does not say which of the two is wanted gets `application/json`."""
    return _read(header[:_LONGEST]) if header else _ANYTHING


@lru_cache(maxsize=256)
def _read(header: str) -> Accepted:
    qualities = _qualities(header)
    if not qualities:
        return _ANYTHING
    named = qualities.get(GRAPHQL_RESPONSE, 0.0)
    json = _quality(qualities, JSON)
    # By a pattern alone the longer name is meant only where JSON is not wanted.
    best = GRAPHQL_RESPONSE if named >= json else JSON
    single = best if _quality(qualities, best) > 0 else None
    return Accepted(
        single,
        takes_stream=qualities.get(EVENT_STREAM, 0.0) > 0,
        takes_page=qualities.get(_PAGE, 0.0) > 0,
    )


def _quality(qualities: dict[str, float], media_type: str) -> float:
    """Return the quality of a media type: what is named most precisely counts (RFC 9110 §12.5.1)."""
    return next((qualities[name] for name in (media_type, "application/*", "*/*") if name in qualities), 0.0)


def _qualities(header: str) -> dict[str, float]:
    qualities: dict[str, float] = {}
    for part in header.lower().split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for name, _, value in (parameter.partition("=") for parameter in parameters):
            if name.strip() == "q":
                quality = float(value) if _QUALITY.fullmatch(value.strip()) else 0.0
        if media_type:
            qualities[media_type] = max(quality, qualities.get(media_type, 0.0))
    return qualities
