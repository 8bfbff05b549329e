"""Which media type a client takes, of those that an answer can have (GraphQL over HTTP §6; RFC 9110 §12.5.1)."""

from functools import lru_cache
from typing import NamedTuple

GRAPHQL_RESPONSE = "application/graphql-response+json"
JSON = "application/json"
EVENT_STREAM = "text/event-stream"


class Accepted(NamedTuple):
    """The media type of a single answer, None if the client takes none of ours; and whether it takes a stream."""

    single: str | None
    takes_stream: bool


@lru_cache(maxsize=256)
def read_accept(header: str | None) -> Accepted:
    """Read an `Accept` header; one that does not say which of the two is wanted gets `application/json`."""
    if header is None or not header.strip():
        return Accepted(JSON, takes_stream=False)
    qualities = _qualities(header[:1000])
    graphql_response = _quality(qualities, GRAPHQL_RESPONSE, exact=True)
    json = _quality(qualities, JSON, exact=False)
    single = None
    if graphql_response > 0 or json > 0:
        single = GRAPHQL_RESPONSE if graphql_response >= json else JSON
    return Accepted(single, takes_stream=_quality(qualities, EVENT_STREAM, exact=True) > 0)


def _quality(qualities: dict[str, float], media_type: str, *, exact: bool) -> float:
    if exact:
        return qualities.get(media_type, 0.0)
    return next((qualities[name] for name in (media_type, "application/*", "*/*") if name in qualities), 0.0)


def _qualities(header: str) -> dict[str, float]:
    qualities: dict[str, float] = {}
    for part in header.lower().split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for name, _, value in (parameter.partition("=") for parameter in parameters):
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        if media_type:
            qualities[media_type] = max(quality, qualities.get(media_type, 0.0))
    return qualities
