"""A request's headers, read once, with those seen that came more than once."""

from collections.abc import Iterable


class RequestHeaders:
    """Headers by their lower-case names."""

    __slots__ = ("_values",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        values: dict[bytes, list[bytes]] = {}
        for name, value in raw:
            if name in values:
                values[name].append(value)
            else:
                values[name] = [value]
        self._values = values

    def __contains__(self, name: bytes) -> bool:
        return name in self._values

    def all(self, name: bytes) -> list[str]:
        """Return every value under a name, in the order in which they came."""
        return [value.decode("latin-1") for value in self._values.get(name, ())]

    def joined(self, name: bytes) -> str | None:
        """Return the values of a header that is a list, as one list (RFC 9110 §5.3); None when there is none."""
        return ", ".join(self.all(name)) if name in self._values else None

    def only(self, name: bytes) -> str | None:
        """Return the value of a header that may come once; None when it did not come, "" when it came twice.

        No header that is read in this way has an empty value that is good.
        """
        values = self._values.get(name)
        if values is None:
            return None
        return values[0].decode("latin-1") if len(values) == 1 else ""
