"""Which passwords people may choose: one function for every page; it says what is wrong and what helps."""

import asyncio
import re
from collections.abc import Iterable

from idp.crypto.password_strength import Strength, judge
from idp.domain.user import User
from idp.services.accounts import AccountRefused, password_fault
from idp.services.breached_passwords import BreachedPasswords
from idp.services.login import MAX_PASSWORD_CHARS

KNOWN_BAD = "it is one of the passwords that are tried first; take a few words that do not belong together"
PERSONAL = "it is your name or address, or the name of this service, which are tried first; take a few other words"
GUESSABLE = "it is too easy to guess; make it longer, for instance with a few words that do not belong together"
BREACHED = "it is known from a leak at another service; take one that you have used nowhere else"
_SHORTEST_WORD = 3


class PasswordPolicy:
    """What a new password has to be; `breached` is asked where it is set up."""

    def __init__(self, *, min_length: int, service_name: str, breached: BreachedPasswords | None = None) -> None:
        self._min_length = min_length
        self._service_name = service_name
        self._breached = breached

    async def check(self, password: str, *, personal: Iterable[str | None]) -> Strength:
        """Return how strong a password is; `personal` are the name and the addresses of whose it is to be.

        Raises:
            AccountRefused: it may not be used.
        """
        fault, strength = await self._judge(password, personal)
        if fault is not None:
            raise AccountRefused({("password",): fault})
        return strength

    async def fault(self, password: str, *, personal: Iterable[str | None]) -> str | None:
        """Return why a password may not be used; None where it may."""
        fault, _ = await self._judge(password, personal)
        return fault

    async def _judge(self, password: str, personal: Iterable[str | None]) -> tuple[str | None, Strength]:
        fault = self._plain_fault(password)
        if fault is not None:
            return fault, Strength.RISKY
        if _is_made_of(password, _words([*personal, self._service_name])):
            return PERSONAL, Strength.RISKY
        judgement = await asyncio.to_thread(judge, password)
        if judgement.known_bad:
            return KNOWN_BAD, judgement.strength
        if judgement.strength < Strength.FAIR:
            return GUESSABLE, judgement.strength
        if self._breached is not None and await self._breached.has(password):
            return BREACHED, judgement.strength
        return None, judgement.strength

    def _plain_fault(self, password: str) -> str | None:
        if "\x00" in password:
            return "it holds NUL"
        if len(password) > MAX_PASSWORD_CHARS:
            return f"it must have at most {MAX_PASSWORD_CHARS} characters"
        return password_fault(password, min_length=self._min_length)


def personal_words(user: User) -> tuple[str | None, ...]:
    """Return what somebody's password must not be."""
    return user.name, user.email, user.username


def _is_made_of(password: str, words: set[str]) -> bool:
    """Whether nothing to speak of is left of a password without these words."""
    core = left = _core(password)
    for word in sorted(words, key=len, reverse=True):
        left = left.replace(word, "")
    return left != core and len(left) < _SHORTEST_WORD


def _core(text: str) -> str:
    """Return a text without what people put around a word to make a password of it."""
    return re.sub(r"[\W_]+", "", re.sub(r"^[\W\d_]+|[\W\d_]+$", "", text.casefold()))


def _words(texts: Iterable[str | None]) -> set[str]:
    words = set()
    for text in filter(None, texts):
        parts = {text, *text.split(), *text.split("@")}
        words |= {word for part in parts if len(word := _core(part)) >= _SHORTEST_WORD}
    return words
