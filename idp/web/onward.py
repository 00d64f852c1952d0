"""Where people go on after signing in (`next`): to pages of ours that asked for it, and to nothing else."""

import re
from urllib.parse import urlencode

from idp.protocol.parameters import Parameters

# Whole paths in plain letters: nothing that a browser reads as a host, unescapes or takes away, and no query.
_PAGES = re.compile(
    r"/(?:(?:account|admin|invitations|labs)(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+|login/[a-z0-9-]+/link/[\w-]+)"
)
_MAX_CHARS = 300


def read_next(query: Parameters) -> str | None:
    """Return the page of ours that a query names to go on to; None where it names none."""
    path = query.get("next")
    return None if path is None else _checked(path)


def sign_in_path(path: str, *, add: bool = False, again: bool = False) -> str:
    """Return where to sign in to come back to a page of ours.

    With `add` beside whoever is signed in; with `again` as the same person, who is to prove that they are there.
    """
    carried = {**({"add": "1"} if add else {}), **({"again": "1"} if again else {}), **onward(_checked(path))}
    return f"/login?{urlencode(carried)}" if carried else "/login"


def onward(path: str | None) -> dict[str, str]:
    """Return the parameter that carries the page along."""
    return {} if path is None else {"next": path}


def _checked(path: str) -> str | None:
    return path if len(path) <= _MAX_CHARS and _PAGES.fullmatch(path) else None
