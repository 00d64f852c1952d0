"""Where people go on after signing in (`next`): to pages of ours that asked for it, and to nothing else."""

import re
from urllib.parse import parse_qsl, urlencode, urlsplit

from idp.protocol.parameters import Parameters
from idp.services.upstream_visits import Onward

# Whole paths in plain letters: nothing that a browser reads as a host, unescapes or takes away, and no query.
_PAGES = re.compile(
    r"/(?:(?:account|admin|invitations|labs)(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+|login/[a-z0-9-]+/link/[A-Za-z0-9_-]+)"
)
_MAX_CHARS = 300
# Where a stored authorization request continues.
RESUME_PATH = "/authorize/resume"
# How somebody signs in: beside others, as the same person once more, or to prove any account.
WAYS = ("add", "again", "prove")


def read_next(query: Parameters) -> str | None:
    """Return the page of ours that a query names to go on to; None where it names none."""
    path = query.get("next")
    return None if path is None else _checked(path)


def sign_in_path(path: str, *, add: bool = False, again: bool = False, prove: bool = False) -> str:
    """Return where to sign in to come back to a page of ours.

    With `add` beside whoever is signed in; with `again` as the same person, who is to prove that they are there; with
    `prove` as anybody who has an account.
    """
    return with_carried("/login", Onward(next_path=_checked(path), add=add, again=again, prove=prove))


def read_onward(query: Parameters) -> Onward:
    """Return where somebody goes on to who signs in: within the authorization request first, and how they sign in."""
    handle = query.get("interaction")
    return Onward(
        handle=handle,
        next_path=None if handle is not None else read_next(query),
        **{way: query.get(way) is not None for way in WAYS},
    )


def carried(going: Onward) -> dict[str, str]:
    """Return the parameters that carry it along."""
    within = {} if going.handle is None else {"interaction": going.handle}
    return within | {way: "1" for way in WAYS if getattr(going, way)} | onward(going.next_path)


def with_carried(path: str, going: Onward) -> str:
    """Return a path with what is carried along in its query."""
    parameters = carried(going)
    return f"{path}?{urlencode(parameters)}" if parameters else path


def second_factor_path(path: str, *, pending: str | None = None) -> str:
    """Return where to prove a second factor to go on to a path, which is a page of ours or a request's continuation.

    `pending` is the handle of the sign-in that this finishes; without one it makes more of the session that there is.
    """
    parts = urlsplit(path)
    waits = {} if pending is None else {"pending": pending}
    within = dict(parse_qsl(parts.query)) if parts.path == RESUME_PATH else onward(_checked(path))
    return f"/login/mfa?{urlencode({**waits, **within})}"


def onward(path: str | None) -> dict[str, str]:
    """Return the parameter that carries the page along."""
    return {} if path is None else {"next": path}


def _checked(path: str) -> str | None:
    return path if len(path) <= _MAX_CHARS and _PAGES.fullmatch(path) else None
