"""One shape for every refusal: `errors[].extensions` with a code from a closed list, a reason, and the request's id.

Whatever is not foreseen here is INTERNAL: its text stays in the log, where the request's id finds it.
"""

import re
from collections.abc import Sequence
from enum import Enum
from typing import Any

import structlog
from graphql import GraphQLError, GraphQLSyntaxError, Node
from strawberry.exceptions import StrawberryInputCoercionError

from auth.refusals import (
    Conflict,
    FellBehind,
    Forbidden,
    NotFound,
    Overloaded,
    RateLimited,
    Reason,
    Unauthenticated,
)
from store import StoreUnavailable

_log = structlog.get_logger("watchword.schema")


class Code(Enum):
    """What a program may branch on; the value says what it should do."""

    UNAUTHENTICATED = "It is not known who calls: get a new token and try again."
    FORBIDDEN = "It is known who calls, and they may not: trying again will not help."
    BAD_USER_INPUT = "A variable or an argument has a value that is not accepted."
    NOT_FOUND = "What was named does not exist, or is not yours to see."
    CONFLICT = "The state of things does not allow it."
    RATE_LIMITED = "It was tried too often, or too much was asked for: try again after `retryAfter` seconds."
    OPERATION_TOO_LARGE = "The document asks for more than one request may."
    PERSISTED_QUERY_NOT_FOUND = "No document with this hash is remembered: send its text and the hash together."
    DOCUMENT_NOT_TRUSTED = "Only the documents that the operator listed run here."
    GRAPHQL_PARSE_FAILED = "The document is not GraphQL."
    GRAPHQL_VALIDATION_FAILED = "The document does not fit the schema."
    BAD_REQUEST = "The request is not one that GraphQL over HTTP allows, or that this transport can carry."
    CSRF_REFUSED = "The request was sent by a page that may not call this API."
    UNAVAILABLE = "The database or the machine is too busy, or not there: try again."
    INTERNAL = "A fault of ours; the request's id finds it in the log."


class BadInput(Exception):
    """An argument that is not accepted; the message says which and why, and never repeats its value."""


class CookiesNeedPost(Exception):
    """An act that sets or takes away cookies, over a transport that cannot: on a socket, or in a stream."""

    def __init__(self) -> None:
        super().__init__(Reason.COOKIES_NEED_POST.value)


# graphql-core repeats a name that it does not know, however long a client made it.
_LONGEST_MESSAGE = 500


def refusal(code: Code, message: str, nodes: Sequence[Node] | None = None, **more: Any) -> GraphQLError:
    """Return an error with a code and what else its `extensions` say, at these places of the document."""
    return GraphQLError(message, nodes, extensions={"code": code.name, **more})


def presented(error: GraphQLError, request_id: str) -> GraphQLError:
    """Return what a client may know of an error; what it may not is logged under the request's id."""
    message, extensions = _answer(error)
    if extensions["code"] == Code.INTERNAL.name:
        _log.error("internal_error", request_id=request_id, path=error.path, exc_info=error.original_error or error)
    return GraphQLError(
        message[:_LONGEST_MESSAGE],
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions={**extensions, "requestId": request_id},
    )


def _answer(error: GraphQLError) -> tuple[str, dict[str, Any]]:  # noqa: C901, PLR0911, PLR0912 - a table, a row a case
    cause = _root_cause(error)
    match cause:
        case Unauthenticated():
            return str(cause), {"code": Code.UNAUTHENTICATED.name, "reason": cause.reason.name}
        case Forbidden():
            more = {"required": list(cause.required), "granted": list(cause.granted)} if cause.required else {}
            return str(cause), {"code": Code.FORBIDDEN.name, "reason": cause.reason.name, **more}
        case FellBehind():
            return str(cause), {"code": Code.UNAVAILABLE.name, "reason": cause.reason.name}
        case NotFound():
            return str(cause), {"code": Code.NOT_FOUND.name}
        case Conflict():
            return str(cause), {"code": Code.CONFLICT.name, "reason": cause.reason.name}
        case BadInput() | StrawberryInputCoercionError():
            return without_values(str(cause)), {"code": Code.BAD_USER_INPUT.name}
        case CookiesNeedPost():
            return str(cause), {"code": Code.BAD_REQUEST.name, "reason": Reason.COOKIES_NEED_POST.name}
        case StoreUnavailable():
            return "The database does not answer; try again.", {"code": Code.UNAVAILABLE.name}
        case Overloaded():
            seconds = int(cause.retry_after.total_seconds())
            return str(cause), {"code": Code.UNAVAILABLE.name, "retryAfter": seconds}
        case RateLimited():
            return str(cause), {"code": Code.RATE_LIMITED.name, "retryAfter": cause.seconds}
        case GraphQLSyntaxError():
            return without_values(cause.message), {"code": Code.GRAPHQL_PARSE_FAILED.name}
        case GraphQLError() if _code_of(cause) is not None:
            return cause.message, dict(cause.extensions or {})
        case GraphQLError() if _is_about_input(cause):
            return without_values(error.message), {"code": Code.BAD_USER_INPUT.name}
    return "Something went wrong on our side.", {"code": Code.INTERNAL.name}


def _root_cause(error: GraphQLError) -> BaseException:
    cause: BaseException = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def _code_of(error: GraphQLError) -> Code | None:
    return Code.__members__.get(str((error.extensions or {}).get("code")))


def _is_about_input(error: GraphQLError) -> bool:
    # graphql-core says so only in words: an error of a variable has no path, one of an argument begins like this.
    return error.path is None or error.message.startswith("Argument ")


# It writes "…non string value: 5", "…, found: {…}", "…? Found: {…}", "Expected Name, found String 'hunter2'.", and
# "Value 'hunter2' does not exist in 'TokenDelivery' enum."
_REPEATED_VALUE = re.compile(
    r"(?s)(, but encountered error |"
    r"[,;] found: |[.?] Found: |(?<=value): |(?<=GlobalID): |, found (Block)?String ['\"]).*$"
    r"|(?<=^Value) '.*'(?= does)"
)


# Strawberry writes: Value cannot represent a DateTime: "2026". Invalid isoformat string: '2026'
_REPEATED_SCALAR = re.compile(r"(?s)(cannot represent an? \w+): .*$")


def without_values(message: str) -> str:
    """Take what a client wrote out of graphql-core's messages, which repeat it: it may be a password."""
    head, colon, tail = message.partition(": ") if message.startswith(("Variable ", "Argument ")) else ("", "", message)
    tail = _REPEATED_SCALAR.sub(r"\1.", tail)
    return head + colon + _REPEATED_VALUE.sub(lambda found: "" if found[0].startswith(" ") else ".", tail)
