"""The memory of prepared documents: bounded, and no flood of texts that are seen once washes out those in use."""

from collections import OrderedDict
from hashlib import sha256

from schema.prepared import Prepared

# A prepared document takes a hundred times the memory of its text.
_MOST = 512
_MOST_CHARACTERS = 500_000
_LONGEST = 25_000

# As much of it as those may take that were asked for again; the rest is for newcomers.
_ESTABLISHED_SHARE = 0.8


def digest_of(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class DocumentMemory:
    """Documents by the SHA-256 of their texts; what was asked for least recently is forgotten first.

    A document is on probation until it is asked for a second time. Whoever is on probation is forgotten before anybody
    else is, so strangers' texts, each sent once, come at the cost of one another.
    """

    def __init__(self) -> None:
        self._probation = _Places()
        self._established = _Places()

    def get(self, digest: str) -> Prepared | None:
        """Return the document with this digest, if it is remembered."""
        if (prepared := self._established.get(digest)) is not None:
            return prepared
        if (kept := self._probation.take(digest)) is None:
            return None
        self._established.put(digest, kept)
        while self._established.is_beyond(_ESTABLISHED_SHARE):
            self._probation.put(*self._established.pop())
        return kept[0]

    def keep(self, digest: str, prepared: Prepared, length: int) -> None:
        """Remember a document whose text has this length, unless it is one of the very long ones."""
        if length > _LONGEST:
            return
        self._probation.put(digest, (prepared, length))
        while self._probation.is_beyond(1, beside=self._established):
            self._probation.pop()


class _Places:
    """Documents in the order in which they were last asked for, and how long they are together."""

    def __init__(self) -> None:
        self.kept: OrderedDict[str, tuple[Prepared, int]] = OrderedDict()
        self.characters = 0

    def get(self, digest: str) -> Prepared | None:
        if (kept := self.kept.get(digest)) is None:
            return None
        self.kept.move_to_end(digest)
        return kept[0]

    def put(self, digest: str, kept: tuple[Prepared, int]) -> None:
        self.kept[digest] = kept
        self.characters += kept[1]

    def take(self, digest: str) -> tuple[Prepared, int] | None:
        if (kept := self.kept.pop(digest, None)) is not None:
            self.characters -= kept[1]
        return kept

    def pop(self) -> tuple[str, tuple[Prepared, int]]:
        digest, kept = self.kept.popitem(last=False)
        self.characters -= kept[1]
        return digest, kept

    def is_beyond(self, share: float, beside: "_Places | None" = None) -> bool:
        number = len(self.kept) + (len(beside.kept) if beside else 0)
        characters = self.characters + (beside.characters if beside else 0)
        return number > share * _MOST or characters > share * _MOST_CHARACTERS
