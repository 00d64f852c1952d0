"""Signed tokens that count once: client assertions (RFC 7523 §3, RFC 7519 §4.1.7)."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenToken:
    """That a token was used; `hash` covers its kind, who sent it and its `jti`, and is kept until it would expire."""

    hash: str
    expires_at: datetime
