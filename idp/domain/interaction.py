"""An authorization request that waits for its user."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """A stored authorization request between the application's redirect and our answer to it.

    `params` are the request's own parameters, checked again whenever it is continued. `session_id` is the session of
    whoever signed in within this request; `selected_session_id` the one that was chosen on the page that lists several;
    `consented_at` says that the consent page was answered in it, by `user_id`.
    """

    hash: str
    client_id: str
    params: Mapping[str, str]
    created_at: datetime
    expires_at: datetime
    session_id: str | None = None
    selected_session_id: str | None = None
    user_id: str | None = None
    consented_at: datetime | None = None
    used_at: datetime | None = None
