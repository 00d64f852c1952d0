"""Scopes about labs: `labs`, `groups` and `entitlements` ask for all, `lab:<slug>` and `lab:<slug>:<role>` for one.

The WLCG profile has `wlcg.groups` and `wlcg.groups:/<slug>/<role>` for it (WLCG Common JWT Profiles §3.1).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from idp.domain.lab import LabRole, is_lab_slug

WLCG_GROUPS = "wlcg.groups"
# Each is the name of a claim as well.
LAB_SCOPES = frozenset({"labs", "groups", "entitlements", WLCG_GROUPS})
# For the API through which labs are looked after.
LAB_API_SCOPES = ("labs:read", "labs:write")
MAX_LAB_SCOPES = 20
_LAB = "lab:"
_WLCG_GROUP = f"{WLCG_GROUPS}:"


@dataclass(frozen=True, slots=True)
class LabScope:
    """One lab that a scope names; `role` caps what is told of it, None does not."""

    slug: str
    role: LabRole | None = None


def names_lab(token: str) -> bool:
    """Whether a scope means to name a single lab, be it well-formed or not."""
    return token.startswith((_LAB, _WLCG_GROUP))


def is_about_labs(token: str) -> bool:
    """Whether a scope asks for anything about labs."""
    return token in LAB_SCOPES or names_lab(token)


@lru_cache(maxsize=4096)
def parse_lab_scope(token: str) -> LabScope:
    """Return the lab that a scope names.

    Raises:
        ValueError: it is malformed, or no lab may be called that.
    """
    if token.startswith(_WLCG_GROUP):
        start, _, path = token.removeprefix(_WLCG_GROUP).partition("/")
        if start:
            raise ValueError("a group begins with a slash")
        slug, *roles = path.split("/")
    else:
        slug, *roles = token.removeprefix(_LAB).split(":")
    if not is_lab_slug(slug) or len(roles) > 1:
        raise ValueError("it names no lab")
    return LabScope(slug, LabRole(roles[0]) if roles else None)


@dataclass(frozen=True, slots=True)
class LabRequest:
    """What a scope asks to be told about labs, and under which claims.

    `named` holds for each lab, in the order of the request, the roles at which its scopes cap it; None caps nothing.
    Without `all_labs` only those are meant. `wlcg` is what the WLCG profile selects, in its order; None is all.
    """

    claims: frozenset[str]
    all_labs: bool
    named: Mapping[str, tuple[LabRole | None, ...]]
    wlcg: tuple[LabScope | None, ...] = ()


@lru_cache(maxsize=4096)
def _read(scope: tuple[str, ...]) -> LabRequest:
    claims = set(LAB_SCOPES.intersection(scope))
    named: dict[str, tuple[LabRole | None, ...]] = {}
    wlcg: list[LabScope | None] = []
    for token in scope:
        if token == WLCG_GROUPS:
            wlcg.append(None)
        elif token.startswith(_WLCG_GROUP):
            wlcg.append(parse_lab_scope(token))
        elif token.startswith(_LAB):
            lab = parse_lab_scope(token)
            named[lab.slug] = (*named.get(lab.slug, ()), lab.role)
    if wlcg:
        claims.add(WLCG_GROUPS)
        # §3.1: selecting groups puts them first; those that everybody is told follow.
        wlcg += [] if None in wlcg else [None]
    if named:
        claims |= {"labs", "groups"}
    # Beside a named lab, all labs are meant only where the scope says so.
    all_labs = bool(claims) if not named else "labs" in scope or bool(wlcg)
    return LabRequest(frozenset(claims), all_labs, named, tuple(wlcg))


def read_lab_request(scope: Iterable[str]) -> LabRequest:
    """Return what a scope asks for, whose tokens are known to be well-formed."""
    return _read(tuple(scope))


def as_confined(left: tuple[str, ...], scope: Sequence[str]) -> tuple[str, ...]:
    """Return what is left of a scope; with no lab left of those that it named, there is none to look after either."""
    if any(map(names_lab, scope)) and not any(map(names_lab, left)):
        return tuple(token for token in left if token not in LAB_API_SCOPES)
    return left


def as_narrow(left: tuple[str, ...], scope: Sequence[str]) -> tuple[str, ...]:
    """Return what is left of a scope; with no lab left of those that it named, the rest would mean all labs."""
    if read_lab_request(left).all_labs and not read_lab_request(scope).all_labs:
        left = tuple(token for token in left if token not in LAB_SCOPES)
    return as_confined(left, scope)
