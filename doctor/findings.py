"""What a look at something brings: what is, how good that is, and how to mend it."""

from dataclasses import dataclass
from enum import Enum


class Standing(Enum):
    """How good what was found is; the value is how a line of it begins."""

    OK = "ok"
    NOTE = "note"  # it may be meant so
    WRONG = "WRONG"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; a remedy is there when it is not, or may not be, as it should be."""

    subject: str
    state: str
    remedy: str | None = None
    may_be_meant: bool = False

    @property
    def standing(self) -> Standing:
        """How good it is."""
        if self.remedy is None:
            return Standing.OK
        return Standing.NOTE if self.may_be_meant else Standing.WRONG

    @property
    def is_good(self) -> bool:
        """Whether there is nothing that has to be mended."""
        return self.standing is not Standing.WRONG

    def as_json(self) -> dict[str, str | None]:
        """Return it for programs."""
        return {
            "subject": self.subject,
            "standing": self.standing.name,
            "state": self.state,
            "remedy": self.remedy,
        }

    def __str__(self) -> str:
        line = f"{self.standing.value:<5} {self.subject}: {self.state}"
        return line if self.remedy is None else f"{line}\n      -> {self.remedy}"
