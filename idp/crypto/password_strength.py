"""How hard a password is to guess, by zxcvbn: known lists, words, names, dates and patterns of the keyboard."""

from dataclasses import dataclass
from enum import IntEnum

# zxcvbn raises above it, and takes long below; what follows only makes a password harder.
_JUDGED_CHARS = 72


class Strength(IntEnum):
    """zxcvbn's scores: guesses needed are below 10^3, 10^6, 10^8, 10^10, and more."""

    RISKY = 0
    WEAK = 1
    FAIR = 2
    GOOD = 3
    STRONG = 4


@dataclass(frozen=True, slots=True)
class Judgement:
    """`known_bad` is whether it is one of the passwords that people take most, and that are tried first."""

    known_bad: bool
    strength: Strength


def judge(password: str) -> Judgement:
    """Return how hard a password is to guess; up to a few dozen milliseconds of computing."""
    # Loaded with the first password that is chosen: the lists take some time and memory.
    from zxcvbn import zxcvbn
    from zxcvbn.matching import RANKED_DICTIONARIES

    known = RANKED_DICTIONARIES["passwords"]
    judged = zxcvbn(password[:_JUDGED_CHARS])
    return Judgement(password.lower() in known, Strength(judged["score"]))
