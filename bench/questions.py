"""What is asked of every stack, and how its answer is known to be right."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from bench.accounts import EMAILS, PASSWORD
from bench.browser import Browser
from bench.load import Call
from bench.stacks import Running

ITEMS = 50

# The one thing in which two refusals differ.
_REQUEST_ID = re.compile(rb'"requestId":"[^"]*"')


@dataclass(frozen=True)
class Question:
    """A document, whether it is asked by somebody who is logged in, and whether an answer is the one that is due."""

    title: str
    document: str
    by_somebody: bool
    is_due: Callable[[Any], bool]

    def calls(self, running: Running, connections: int) -> list[Call]:
        """Ask it once, check the answer, and return the calls whose answers must all be like it.

        It logs in anew each time: an access token lives for minutes, and its renewal is not what is measured.
        """
        browser = Browser(running.port)
        if self.by_somebody:
            browser.log_in(running.stack.log_in, EMAILS[0], PASSWORD)
        first = browser.ask(self.document)
        if not self.is_due(orjson.loads(first)):
            raise RuntimeError(f"{running.stack.name} answers {first!r}")
        return [Call(browser.request(self.document), _like(first))] * connections


def logins(running: Running, connections: int) -> list[Call]:
    """Return calls of `login` with the right password, each for an account of its own, when one of each was right."""
    calls = []
    for email in EMAILS[:connections]:
        variables = {"email": email, "password": PASSWORD}
        first = Browser(running.port).ask(running.stack.log_in, variables)
        if not orjson.loads(first)["data"]["login"]["__typename"].startswith("LoginSucce"):
            raise RuntimeError(f"{running.stack.name} answers {first!r}")
        calls.append(Call(Browser(running.port).request(running.stack.log_in, variables), _like(first)))
    return calls


def _like(first: bytes) -> Callable[[bytes], bool]:
    if _REQUEST_ID.search(first) is None:
        return first.__eq__
    expected = _REQUEST_ID.sub(b"", first)
    return lambda body: _REQUEST_ID.sub(b"", body) == expected


def _is_refused(answer: Any) -> bool:
    return answer["data"] == {"me": None} and len(answer["errors"]) == 1


def _is_full(answer: Any) -> bool:
    items = answer["data"]["items"]
    return len(items) == ITEMS and all(item["owner"]["name"] == "Ada Lovelace" for item in items)


_ME = "{ me { id name email } }"

OBJECT = Question("A guarded object", _ME, True, lambda answer: answer["data"]["me"]["name"] == "Ada Lovelace")
LIST = Question("A guarded list of 50 with owners", "{ items { id title owner { id name } } }", True, _is_full)
REFUSAL = Question("An anonymous refusal", _ME, False, _is_refused)
