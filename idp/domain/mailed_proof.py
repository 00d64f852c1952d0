"""What is mailed to prove that an address is somebody's: a code to type in, or a link to open."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

# One in 200,000 for each mail; how many mails there are is limited by address.
MAX_ATTEMPTS = 5
CODE_LIFETIME = timedelta(minutes=10)
RESEND_AFTER = timedelta(seconds=60)


class ProofPurpose(StrEnum):
    """What the proof is for."""

    SIGN_IN = "sign_in"
    SIGN_UP = "sign_up"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailedProof:
    """One proof that was asked for, also where nothing was mailed: then nobody can give it.

    `hash` is that of its handle or link, `address` a keyed hash of the e-mail address, `browser` that of the cookie of
    whoever asked. `sealed` is what it was asked for, `secret` the keyed hash of a code. `sends` counts the mails.
    """

    hash: str
    purpose: ProofPurpose
    address: str
    browser: str
    sealed: bytes
    created_at: datetime
    sent_at: datetime
    expires_at: datetime
    user_id: str | None = None
    secret: str = ""
    attempts: int = 0
    sends: int = 1
    used_at: datetime | None = None

    def valid(self, *, now: datetime) -> bool:
        """Whether it can still be given at `now`."""
        return self.used_at is None and now < self.expires_at

    @property
    def attempts_left(self) -> int:
        """How often a code may still be tried."""
        return max(0, MAX_ATTEMPTS - self.attempts)

    def tried(self) -> Self:
        """Return it with one attempt more."""
        return replace(self, attempts=self.attempts + 1)

    def resend_in(self, *, now: datetime) -> timedelta:
        """How long to wait until the code may be sent anew; nothing where it may be now."""
        return max(timedelta(), self.sent_at + RESEND_AFTER - now)

    def sent_again(self, secret: str, *, now: datetime) -> Self:
        """Return it with another code, which lives as long as the first one did; attempts made are not forgiven."""
        return replace(self, secret=secret, sends=self.sends + 1, sent_at=now, expires_at=now + CODE_LIFETIME)
