"""A request that is refused before GraphQL has seen it."""

from collections.abc import Mapping

from schema.errors import Code


class RequestRefused(Exception):
    """A request that is not GraphQL over HTTP, or not allowed to be, with the status that says so."""

    def __init__(self, status: int, message: str, code: Code = Code.BAD_REQUEST, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.logged: Mapping[str, str] = {}  # what the log has besides
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
