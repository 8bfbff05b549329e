"""How figures are written down: tables of Markdown, and targets with a yes or a no."""

from collections.abc import Iterable, Sequence

NOT_KNOWN = "n/a"  # of figures that need Linux


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the first column is text, the others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None) -> str:
    """Return a figure with three digits or more, or a count as it is."""
    if value is None:
        return NOT_KNOWN
    places = 0 if isinstance(value, int) or value >= 100 else 1 if value >= 10 else 2  # noqa: PLR2004 - digits
    return f"{value:,.{places}f}"


def target(what: str, found: str, is_met: bool) -> str:
    """Return a target, what was found, and whether that meets it."""
    return f"Target: {what}. Found: {found}, **{'yes' if is_met else 'no'}**."
