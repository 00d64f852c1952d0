"""Pictures of applications and labs, fetched by us and served from our own origin."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A logo as it was fetched from `uri` and made anew as a PNG; `content` is None where that failed."""

    uri: str
    fetched_at: datetime
    digest: str | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Logo(Picture):
    """A client's logo."""

    client_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabLogo(Picture):
    """A lab's logo."""

    lab_id: str
