"""Request ids: one name for everything that a request causes."""

import itertools
import re
import secrets
from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def current_request_id() -> str | None:
    """Return the id of the request that is being served, None outside of one."""
    return request_id.get()


# A number within a process of a random name: unique, and without a call to the system for each request.
_process = secrets.token_hex(4)
_numbers = itertools.count(secrets.randbelow(2**32))


def new_request_id() -> str:
    """Return 16 hexadecimal digits that no other request has."""
    return f"{_process}{next(_numbers) & 0xFFFF_FFFF:08x}"


def is_request_id(text: str) -> bool:
    """Whether an incoming `X-Request-Id` may be taken over; from whom it may come is the caller's decision."""
    return _ACCEPTABLE.fullmatch(text) is not None
