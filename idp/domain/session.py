"""A browser in which somebody signed in."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A signed-in browser: `id` is the `sid` of public clients, `hash` the SHA-256 of the cookie."""

    id: str
    hash: str
    user_id: str
    auth_time: datetime
    acr: str
    amr: tuple[str, ...]
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    user_agent: str | None = None
    address: str | None = None

    def valid(self, *, now: datetime) -> bool:
        """Whether the session still signs its user in at `now`."""
        return self.ended_at is None and now < self.expires_at
