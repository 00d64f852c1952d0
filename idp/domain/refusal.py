"""What happened when a request was refused, kept for those who can mend it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refusal by its reference; `sealed` holds the explanation encrypted, with the reference as associated data.

    `address` is the caller's, so that one of them cannot fill the table.
    """

    reference: str
    client_id: str | None
    error: str
    address: str | None
    created_at: datetime
    expires_at: datetime
    sealed: bytes
