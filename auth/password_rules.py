"""Which passwords are accepted: 12 to 128 characters, and not guessable (ASVS 6.2). No rule about kinds of letters."""

import re

from zxcvbn_rs_py import zxcvbn

from auth.faults import Fault, InputRefused

SHORTEST = 12
LONGEST = 128

# zxcvbn's scale runs from 0 to 4; 3 is "safely unguessable: 10^8 guesses or more", beyond what throttled guessing does.
_LEAST_SCORE = 3


def check_password(password: str, *, about_its_owner: tuple[str, ...]) -> None:
    """Return if the password may be chosen. Raises `InputRefused`.

    What is known of its owner, such as name and address, counts as guessed. Takes up to 10 ms of CPU, so call it where
    passwords are hashed and not on the event loop.
    """
    if len(password) < SHORTEST:
        raise InputRefused(Fault.PASSWORD_TOO_SHORT)
    if len(password) > LONGEST:
        raise InputRefused(Fault.PASSWORD_TOO_LONG)
    known = {word for text in about_its_owner for word in (text, *re.split(r"\W+", text)) if word}
    estimate = zxcvbn(password, sorted(known | {"watchword"}))
    if int(estimate.score) < _LEAST_SCORE:
        feedback = estimate.feedback
        raise InputRefused(Fault.PASSWORD_TOO_GUESSABLE, map(str, feedback.suggestions) if feedback else ())
