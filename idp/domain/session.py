"""A browser in which somebody signed in."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A signed-in browser: `id` is the `sid` of public clients, `hash` the SHA-256 of the cookie.

    `auth_time` is when the person proved who they are. Where another provider vouched for them and did not say when,
    it is only when they came from there, `auth_time_known` is false, and it proves nothing to anybody.
    """

    id: str
    hash: str
    user_id: str
    auth_time: datetime
    acr: str
    amr: tuple[str, ...]
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    auth_time_known: bool = True
    ended_at: datetime | None = None
    user_agent: str | None = None
    address: str | None = None

    def valid(self, *, now: datetime) -> bool:
        """Whether the session still signs its user in at `now`."""
        return self.ended_at is None and now < self.expires_at

    def proven_since(self, moment: datetime) -> bool:
        """Whether the person is known to have proved who they are at `moment` or later."""
        return self.auth_time_known and self.auth_time >= moment
