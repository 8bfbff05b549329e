"""Answers to what every request asks, remembered for as long as nobody has committed anything.

SQLite tells, for half of what such a read costs, whether any connection of any process has committed since it was last
asked. If none has, the row is what it was: nothing is ever answered that the file would not answer at this moment.
"""

import sqlite3
from typing import Any

from store.sqlite_faults import raise_if_sick
from store.statements import Made, Question

# Of each question. An answer takes about half a kilobyte.
_MOST = 10_000

Answers = dict[tuple[Any, ...], Made]


class Memory:
    """The memory of one connection that only reads, which it must not outlive."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._execute = raw.execute
        self._version = -1
        self._answers: dict[Question[Any], Answers[Any]] = {}

    def answers(self, question: Question[Made]) -> Answers[Made]:
        """Return the answers to a question that are right at this moment, by what was asked.

        What is read from now on may be newer than they are, but never older. Raises `StoreUnavailable`.
        """
        try:
            version = self._execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise_if_sick(error)
            raise
        if version != self._version:
            self._answers.clear()
            self._version = version
        answers = self._answers.get(question)
        if answers is None:
            answers = self._answers[question] = {}
        return answers

    def keep(self, answers: Answers[Made], asked: tuple[Any, ...], answer: Made) -> None:
        """Remember an answer that was read since these were returned."""
        if len(answers) >= _MOST:
            answers.pop(next(iter(answers)))
        answers[asked] = answer
