"""Request ids: one name for everything that a request causes."""

import re
import secrets
from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def current_request_id() -> str | None:
    """Return the id of the request that is being served, None outside of one."""
    return request_id.get()


def new_request_id() -> str:
    """Return 64 random bits as 16 hexadecimal digits."""
    return secrets.token_hex(8)


def is_request_id(text: str) -> bool:
    """Whether an incoming `X-Request-Id` may be taken over; from whom it may come is the caller's decision."""
    return _ACCEPTABLE.fullmatch(text) is not None
