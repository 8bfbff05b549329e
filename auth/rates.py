"""Rates: how often something may happen, by GCRA, with one number for each key: when its bucket will be full again.

A bucket holds `burst`, and one more comes back each `interval`. What is taken moves the instant at which it is full
into the future; there is no window whose edge could be waited for (RFC 2697 has the bucket, ITU-T I.371 the algorithm).
All numbers are whole milliseconds since 1970, and spans of them.
"""

from typing import NamedTuple

MINUTE = 60_000

# How far apart the clocks of the processes that count together may be.
MOST_SKEW = MINUTE


class Rate(NamedTuple):
    """How much a bucket holds, and how long it takes until one comes back."""

    burst: int
    interval: int


def at_most_each_minute(most: int) -> Rate:
    """Return the rate that lets `most`, one or more, through within any minute, half of them at once."""
    burst = (most + 1) // 2
    rest = most - burst
    return Rate(burst, -(-MINUTE // rest) if rest else MINUTE + 1)


def until_next(rate: Rate, full_at: int, now: int) -> int:
    """Return how long it is until one can be taken: 0 when it can be now."""
    return max(0, _plausible(rate, full_at, now) - now - (rate.burst - 1) * rate.interval)


def full_after_one(rate: Rate, full_at: int, now: int) -> int:
    """Return when the bucket will be full again, if one is taken now."""
    return max(_plausible(rate, full_at, now), now) + rate.interval


def given_back(rate: Rate, taken_at: int, now: int) -> int:
    """Return how much earlier a bucket is full when what was taken is given back.

    It is the interval without the time that has gone by meanwhile. That time may be counted in others' favour already:
    with all of the interval given back, a bucket could let more through than it does without what was taken.
    """
    return min(rate.interval, max(0, rate.interval - (now - taken_at)))


def _plausible(rate: Rate, full_at: int, now: int) -> int:
    # A bucket that was emptied this instant is full after so long. What says a little more was written by a process
    # whose clock is ahead; what says much more, before the clock was set back, or under another rate: believed, it
    # would lock somebody out for as long as the clock was set back by.
    latest = now + rate.burst * rate.interval
    return min(full_at, latest) if full_at <= latest + MOST_SKEW else 0
