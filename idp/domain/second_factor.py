"""What people prove beside what they signed in with first: codes of an app (RFC 6238) and recovery codes."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Self

# So many wrong codes cost no more than typing; each further one doubles the wait, which only the right code ends.
FREE_ATTEMPTS = 5
_FIRST_WAIT = timedelta(seconds=15)
_LONGEST_WAIT = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totp:
    """A person's app that shows codes: `sealed` is the shared secret, `last_step` the newest time step that was used.

    `failed` counts the wrong codes since the last right one, and `failed_at` is when the newest came: whoever enters
    them knows what signs the person in first, and there are only a million codes.
    """

    user_id: str
    sealed: bytes = field(repr=False)
    created_at: datetime
    last_step: int
    last_used_at: datetime | None = None
    failed: int = 0
    failed_at: datetime | None = None

    def open_at(self) -> datetime | None:
        """Return when the next code is looked at; None where it is looked at at once."""
        beyond = self.failed - FREE_ATTEMPTS
        if self.failed_at is None or beyond < 0:
            return None
        # The exponent is bounded, so that years of guessing make no number without end.
        doubled: int = 2 ** min(beyond, 10)
        return self.failed_at + min(_FIRST_WAIT * doubled, _LONGEST_WAIT)

    def refused(self, *, now: datetime) -> Self:
        """Return it after a wrong code."""
        return replace(self, failed=self.failed + 1, failed_at=now)

    def used(self, step: int, *, now: datetime) -> Self:
        """Return it after the code of a time step, which works no more (RFC 6238 §5.2)."""
        return replace(self, last_step=step, last_used_at=now, failed=0, failed_at=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryCode:
    """One of the codes for whoever has lost their device: it works once. `hash` is keyed, and made with the person."""

    hash: str
    user_id: str
    created_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingSignIn:
    """Somebody who proved the first factor, and has to prove a second one before there is a session.

    It is single-use and of one browser, the hash of whose cookie is `browser`. `method`, `acr` and `amr` say how the
    first factor was proven, `interaction` is the hash of the authorization request within which this happens, and
    `attempts` counts the wrong answers. What the second factor is stands nowhere here: it may be any.
    """

    hash: str
    user_id: str
    browser: str
    method: str
    acr: str
    amr: tuple[str, ...]
    interaction: str | None = None
    created_at: datetime
    expires_at: datetime
    attempts: int = 0
    used_at: datetime | None = None
