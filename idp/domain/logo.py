"""Pictures of applications, fetched by us and served from our own origin."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Logo:
    """A client's logo as it was fetched from `uri` and made anew as a PNG; `content` is None where that failed."""

    client_id: str
    uri: str
    fetched_at: datetime
    digest: str | None = None
    content: bytes | None = None
