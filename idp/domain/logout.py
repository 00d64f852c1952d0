"""Telling applications that a session has ended (OpenID Connect Back-Channel Logout 1.0)."""

from dataclasses import dataclass

from idp.domain.outbox import Owed


@dataclass(frozen=True, slots=True, kw_only=True)
class LogoutDelivery(Owed):
    """One logout token that is owed to one client; `user_id` and `session_id` say for whom.

    The token is minted anew for each attempt.
    """

    client_id: str
    user_id: str
    session_id: str
