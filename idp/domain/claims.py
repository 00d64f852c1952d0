"""What is released about a user: standard claims by scope, and labs.

Released labs = memberships valid now ∩ the client's `allowed_labs`. Roles are expanded (admin ⊃ member ⊃ viewer),
because relying parties compare strings exactly.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from idp.domain.client import Client
from idp.domain.lab import LabMembership, LabStatus
from idp.domain.user import User

# OpenID Connect Core §5.4.
SCOPE_CLAIMS: dict[str, tuple[str, ...]] = {
    "profile": (
        "name",
        "family_name",
        "given_name",
        "middle_name",
        "nickname",
        "preferred_username",
        "profile",
        "picture",
        "website",
        "gender",
        "birthdate",
        "zoneinfo",
        "locale",
        "updated_at",
    ),
    "email": ("email", "email_verified"),
    "address": ("address",),
    "phone": ("phone_number", "phone_number_verified"),
}
LAB_SCOPES = frozenset({"labs", "groups"})
# By which scope a client is registered for a claim that it asks for by name; a claim about labs is a scope itself.
SCOPE_OF_CLAIM: dict[str, str] = {
    **{name: scope for scope, names in SCOPE_CLAIMS.items() for name in names},
    **{name: name for name in sorted(LAB_SCOPES)},
}
# Measured on real relying parties, whose cookies and headers break beyond.
JWT_LAB_BYTES = 2048
USERINFO_LAB_BYTES = 12 * 1024


def user_claims(user: User, scope: Iterable[str]) -> dict[str, Any]:
    """Return the standard claims that the scopes ask for and the account holds (OpenID Connect Core §5.1, §5.4)."""
    held: dict[str, Any] = {
        **user.profile,
        "name": user.name,
        "email": user.email,
        "updated_at": int(user.updated_at.timestamp()),
    }
    held.setdefault("preferred_username", user.username)
    if user.email is not None:
        held["email_verified"] = user.email_verified
    wanted = (name for token in scope for name in SCOPE_CLAIMS.get(token, ()))
    return {name: held[name] for name in wanted if held.get(name) is not None}


def lab_claims(
    memberships: Sequence[LabMembership],
    client: Client,
    scope: Iterable[str],
    *,
    now: datetime,
    reader: Client | None = None,
) -> dict[str, Any]:
    """Return `labs` (structured) and `groups` (flat `slug:role` strings) as the scopes ask for them.

    Where somebody else reads what the client was given, such as the API that its tokens are for, that `reader` sees of
    it only the labs that it may see itself.
    """
    wanted = LAB_SCOPES.intersection(scope)
    if not wanted:
        return {}
    released = [held for held in memberships if _is_released(held, client, now)]
    if reader is not None:
        released = [held for held in released if _is_released(held, reader, now)]
    claims: dict[str, Any] = {}
    if "labs" in wanted:
        claims["labs"] = [_lab(held) for held in released]
    if "groups" in wanted:
        claims["groups"] = [f"{held.lab.slug}:{role}" for held in released for role in held.membership.role.expanded]
    return claims


def without_overflow(claims: Mapping[str, Any], *, max_bytes: int) -> dict[str, Any]:
    """Return the claims; those about labs are left out whole, never cut short, where they take more than `max_bytes`.

    `labs_overflow` then tells the reader to ask elsewhere: about a JWT userinfo or introspection.
    """
    labs = {name: value for name, value in claims.items() if name in LAB_SCOPES}
    if not labs or len(json.dumps(labs, ensure_ascii=False, separators=(",", ":")).encode()) <= max_bytes:
        return dict(claims)
    return {**{name: value for name, value in claims.items() if name not in labs}, "labs_overflow": True}


def _is_released(held: LabMembership, client: Client, now: datetime) -> bool:
    allowed = client.allowed_labs == "*" or held.lab.slug in client.allowed_labs
    return allowed and held.lab.status is LabStatus.ACTIVE and held.membership.valid(now=now)


def _lab(held: LabMembership) -> dict[str, Any]:
    lab: dict[str, Any] = {
        "id": held.lab.id,
        "slug": held.lab.slug,
        "name": held.lab.name,
        "role": str(held.membership.role),
    }
    if held.membership.expires_at is not None:
        lab["exp"] = int(held.membership.expires_at.timestamp())
    return lab
