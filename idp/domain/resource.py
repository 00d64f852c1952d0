"""A protected resource: an API that access tokens are issued for (RFC 8707, RFC 9068)."""

from dataclasses import dataclass
from datetime import datetime

from idp.domain.lab import ManagedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A registered API, known by the URI that clients send as `resource` and its tokens bear as `aud`.

    `scopes` are those that mean something to it. `client_id` is the client as which it introspects its tokens.
    """

    audience: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    client_id: str | None = None
    managed_by: ManagedBy = ManagedBy.ADMIN
