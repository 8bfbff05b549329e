"""How much is measured: enough for figures to stand by, or a little, to see that everything still runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Rounds and lengths. `seconds` is one stack's turn in a round, `storm` the length of one storm."""

    rounds: int
    seconds: float
    storm: float
    early: int  # requests before the memory is read the first time
    late: int  # and before it is read the last time


THOROUGH = Effort(rounds=10, seconds=1.0, storm=8.0, early=20_000, late=200_000)
QUICK = Effort(rounds=1, seconds=0.4, storm=1.0, early=300, late=900)
