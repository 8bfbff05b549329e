"""How figures are written down: tables of Markdown, and targets with a yes or a no."""

from collections.abc import Iterable, Sequence

NOT_KNOWN = "n/a"  # of figures that need Linux


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the first column is text, the others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, places: int = 0) -> str:
    """Return a figure with thousands set apart."""
    return NOT_KNOWN if value is None else f"{value:,.{places}f}"


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds."""
    return f"{seconds * 1000:,.2f}"


def times(ours: float | None, theirs: float | None) -> str:
    """Return how many times as much ours is."""
    return NOT_KNOWN if ours is None or theirs is None else f"{ours / theirs:.2f}"


def target(what: str, is_met: bool) -> str:
    """Return a target and whether it is met."""
    return f"Target: {what}: **{'yes' if is_met else 'no'}**"
