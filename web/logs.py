"""How the log is written: JSON lines for machines, or text for a terminal; uvicorn's lines too, and never a secret."""

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import orjson
import structlog

# The second lock: no code passes these to the log, and if some day it does, they are not written.
_SECRET_NAMES = frozenset(
    {"password", "token", "access_token", "refresh_token", "setup_token", "secret", "authorization", "cookie", "query"}
)


_stamped = structlog.processors.TimeStamper(fmt="iso", utc=True)


def configure_logs(*, as_json: bool, level: str, worker: int | None = None) -> None:
    """Set the log up for this process, on standard error; one `worker` of several names itself in each line.

    Our own lines go to it by themselves, for a request writes one: through `logging` it would cost four times as much.
    What others say by `logging` comes out in the same form.
    """
    named: list[Any] = [] if worker is None else [_of_worker(worker)]
    shared: list[Any] = [
        *named,
        structlog.processors.add_log_level,
        _stamped,
        _without_secrets,
    ]
    renderer: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dumps)]
        if as_json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[*named, _line] if as_json else [_logger_name, *shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Lines,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # Ours has the request's id; uvicorn's would say the same again, with the query string.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("alembic").setLevel(logging.WARNING)


class _Lines:
    """Writes lines to standard error, each at once and whole."""

    def __init__(self, name: str = "watchword") -> None:
        self.name = name

    def msg(self, line: str | bytes) -> None:
        if isinstance(line, bytes):
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
        else:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = exception = msg


def _line(logger: _Lines, method: str, event: MutableMapping[str, Any]) -> bytes:
    """Do at once what the processors for text do one by one: every request waits for its line."""
    _without_secrets(logger, method, event)
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(logger, method, event)
    event["logger"] = logger.name
    event["level"] = "error" if method == "exception" else method
    return orjson.dumps(_stamped(logger, method, event), default=str, option=orjson.OPT_APPEND_NEWLINE)


def _of_worker(worker: int) -> Callable[..., MutableMapping[str, Any]]:
    def named(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["worker"] = worker
        return event

    return named


def _logger_name(logger: _Lines, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["logger"] = logger.name
    return event


def _without_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if not _SECRET_NAMES.isdisjoint(event):
        event.update(dict.fromkeys(_SECRET_NAMES & event.keys(), "…"))
    return event


def _dumps(event: Any, **_options: Any) -> str:
    return orjson.dumps(event, default=str).decode()
