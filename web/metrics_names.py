"""The names by which operations are counted: a bounded number, whatever strangers call theirs."""

from collections.abc import Iterable

ANONYMOUS = "anonymous"
OTHER = "other"

# First come, first served: those that were listed as trusted, or else these many. Each is some twenty series in the
# monitoring, kept for as long as that keeps anything.
MOST_NAMES = 100
# Of them for callers of whom nothing is known, so that nobody's invented names take the place of those in use.
MOST_OF_STRANGERS = 30
_LONGEST = 80


class OperationNames:
    """Labels for the names of operations whose documents are valid: the name itself, or `other`."""

    def __init__(self, trusted: Iterable[str] | None) -> None:
        """Know the names that the operator listed, and no others; with None, those that are seen first."""
        self._labels: dict[str | None, str] = {None: ANONYMOUS, **{name: name for name in trusted or ()}}
        self._places = MOST_NAMES if trusted is None else 0
        self._of_strangers = min(MOST_OF_STRANGERS, self._places)

    def known(self, name: str | None) -> str | None:
        """Return what an operation of this name, or of none, is counted under, if that was decided."""
        return self._labels.get(name)

    def new(self, name: str | None, *, is_strangers: bool) -> str:
        """Decide what a name that is not known is counted under; `is_strangers` is of whom nothing is known."""
        if name is None or not self._places or (is_strangers and not self._of_strangers) or len(name) > _LONGEST:
            return OTHER
        self._places -= 1
        self._of_strangers -= is_strangers
        self._labels[name] = name
        return name
