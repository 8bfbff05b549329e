"""Which passwords are accepted: 12 to 128 characters, and not guessable (ASVS 6.2). No rule about kinds of letters."""

import re
import string
from collections.abc import Iterable

from zxcvbn_rs_py import Feedback, zxcvbn

from auth.faults import Fault, InputRefused

SHORTEST = 12
LONGEST = 128

# zxcvbn's scale runs from 0 to 4; 3 is "safely unguessable: 10^8 guesses or more", beyond what throttled guessing does.
_LEAST_SCORE = 3

# The estimator's work grows with the cube of the length: 40 ms for 20 characters that spell words in many ways, 3 s for
# 128, and it holds Python's lock all the while. So of a longer password its beginning and its end are looked at; 20
# characters are enough for a passphrase to be known as a good one.
_LOOKED_AT = 20

_SEPARATORS = str.maketrans("", "", string.punctuation + string.whitespace)

# What is left of a password must be no shorter, once all that is known of its owner is taken out of it.
_LEAST_OF_ONES_OWN = 5


def check_password(password: str, *, about_its_owner: tuple[str, ...]) -> None:
    """Return if the password may be chosen. Raises `InputRefused`.

    What is known of its owner, such as name and address, counts as guessed. Takes up to 80 ms of CPU, so call it where
    passwords are hashed and not on the event loop.
    """
    if len(password) < SHORTEST:
        raise InputRefused(Fault.PASSWORD_TOO_SHORT)
    if len(password) > LONGEST:
        raise InputRefused(Fault.PASSWORD_TOO_LONG)
    known = {word.casefold() for text in about_its_owner for word in (text, *re.split(r"[\W_]+", text)) if word}
    known.add("watchword")
    rest = _without(known, password)
    if rest != password.casefold() and len(rest.translate(_SEPARATORS)) < _LEAST_OF_ONES_OWN:
        raise InputRefused(Fault.PASSWORD_TOO_GUESSABLE, ["Leave your own name and address out of it."])
    parts = {password[:_LOOKED_AT], password[-_LOOKED_AT:]}
    estimates = [zxcvbn(part, sorted(known)) for part in parts]
    if all(int(estimate.score) < _LEAST_SCORE for estimate in estimates):
        raise InputRefused(Fault.PASSWORD_TOO_GUESSABLE, _advice(estimate.feedback for estimate in estimates))


def _without(known: Iterable[str], password: str) -> str:
    rest = password.casefold()
    for word in sorted(known, key=len, reverse=True):
        if len(word) > 2:  # noqa: PLR2004 - an initial is in every word
            rest = rest.replace(word, "")
    return rest


def _advice(feedback: Iterable[Feedback | None]) -> list[str]:
    return sorted({str(suggestion) for given in feedback if given for suggestion in given.suggestions})
