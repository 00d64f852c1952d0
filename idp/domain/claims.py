"""How what is released is written: standard claims by scope, and labs in the shapes that their readers want.

Roles are expanded (admin ⊃ member ⊃ viewer), because relying parties compare strings exactly.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from idp.domain.client import Client, GroupFormat, Profile
from idp.domain.lab import LabRole
from idp.domain.lab_release import LabRelease, ReleasedLab
from idp.domain.lab_scope import LAB_SCOPES, WLCG_GROUPS, LabScope
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
# By which scope a client is registered for a claim that it asks for by name; a claim about labs is a scope itself.
SCOPE_OF_CLAIM: dict[str, str] = {
    **{name: scope for scope, names in SCOPE_CLAIMS.items() for name in names},
    **{name: name for name in sorted(LAB_SCOPES)},
}
WLCG_VERSION = "1.0"
# Measured on real relying parties, whose cookies and headers break beyond.
JWT_LAB_BYTES = 2048
USERINFO_LAB_BYTES = 12 * 1024
# What one lab takes at least in the longest of the claims.
_LEAST_BYTES = len('{"id":"","slug":"a","name":"b","role":"admin"},')
# What it takes at most in both common ones, without its id, name and slugs; and a character that has to be escaped.
_MOST_BYTES = len('{"id":"","slug":"","name":"","role":"member","exp":253402300799},"/:member","/:viewer","/:admin",')
_CHARACTER_BYTES = len("\\u0001")

_COMMON = frozenset({"labs", "groups"})
_WITH_COLON = {role: tuple(f":{each.value}" for each in role.expanded) for role in LabRole}
_WITH_SLASH = {role: tuple(f"/{each.value}" for each in role.expanded) for role in LabRole}


@dataclass(frozen=True, slots=True)
class EntitlementNamespace:
    """The URN namespace of entitlements, and the authority that vouches for them (AARC-G069)."""

    urn: str
    authority: str

    def entitlements(self, lab: ReleasedLab) -> list[str]:
        """Return a URN for each role that is told."""
        start, end = f"{self.urn}:group:{lab.lab.slug}:role=", f"#{self.authority}"
        return [start + role.value + end for role in lab.role.expanded]


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
    released: LabRelease, client: Client, *, namespace: EntitlementNamespace | None = None, max_bytes: int | None = None
) -> dict[str, Any]:
    """Return the claims about labs, as the client is registered to get them; without a namespace no entitlements.

    Where they take more than `max_bytes` they are left out whole, never cut short, and `labs_overflow` tells the reader
    to ask elsewhere: about a JWT userinfo or introspection.
    """
    version = {"wlcg.ver": WLCG_VERSION} if client.profile is Profile.WLCG else {}
    wanted = _as_profiled(released.request.claims, client.profile)
    if not wanted:
        return version
    overflow = {**version, "labs_overflow": True}
    if max_bytes is not None and "labs" in wanted and len(released.labs) * _LEAST_BYTES > max_bytes:
        # Nothing is made only to be measured and thrown away.
        return overflow
    claims: dict[str, Any] = {}
    if "labs" in wanted:
        claims["labs"] = [_lab(lab) for lab in released.labs]
    if "groups" in wanted:
        claims["groups"] = [group for lab in released.labs for group in _groups(lab, client)]
    if "entitlements" in wanted and namespace is not None:
        claims["entitlements"] = [urn for lab in released.labs for urn in namespace.entitlements(lab)]
    if WLCG_GROUPS in wanted:
        claims[WLCG_GROUPS] = _wlcg_groups(released, client)
    if max_bytes is not None and not (wanted <= _COMMON and _fits(released, max_bytes)) and _bytes(claims) > max_bytes:
        return overflow
    return {**version, **{client.claim_aliases.get(name, name): value for name, value in claims.items()}}


def _fits(released: LabRelease, max_bytes: int) -> bool:
    """Whether there is room whatever the names are made of, as there is for a few labs: measuring costs more."""
    # Ids and slugs are plain letters, and none is escaped.
    texts = sum(len(lab.id) + 4 * len(lab.slug) + _CHARACTER_BYTES * len(lab.name) for lab, _, _ in released.labs)
    return len(released.labs) * _MOST_BYTES + texts < max_bytes - len('{"labs":[],"groups":[]}')


def _bytes(claims: Mapping[str, Any]) -> int:
    return len(json.dumps(claims, ensure_ascii=False, separators=(",", ":")).encode())


def _as_profiled(claims: frozenset[str], profile: Profile) -> frozenset[str]:
    if not claims or profile is Profile.PLAIN:
        return claims - {WLCG_GROUPS}
    return frozenset({"entitlements" if profile is Profile.AARC_G069 else WLCG_GROUPS})


def _lab(released: ReleasedLab) -> dict[str, Any]:
    lab = released.lab
    claim: dict[str, Any] = {"id": lab.id, "slug": lab.slug, "name": lab.name, "role": released.role.value}
    if released.expires_at is not None:
        claim["exp"] = int(released.expires_at.timestamp())
    return claim


def _groups(released: ReleasedLab, client: Client) -> list[str]:
    slug, role = released.lab.slug, released.role
    if client.group_format is GroupFormat.SLUG_ROLE:
        return [slug + suffix for suffix in _WITH_COLON[role]]
    if client.group_format is GroupFormat.PATH:
        return ["/" + slug + suffix for suffix in _WITH_SLASH[role]]
    return [slug] if role.contains(client.group_min_role) else []


def _wlcg_groups(released: LabRelease, client: Client) -> list[str]:
    """Return the groups that were selected, in that order (WLCG §3.1): each lab, and each role in it on demand."""
    roles = {lab.lab.slug: lab.role for lab in released.labs}
    everybody = [f"/{slug}" for slug, role in roles.items() if role.contains(client.group_min_role)]
    groups: dict[str, None] = {}
    for selected in released.request.wlcg or (None,):
        groups |= dict.fromkeys(everybody if selected is None else _wlcg_group(selected, everybody, roles))
    return list(groups)


def _wlcg_group(selected: LabScope, everybody: Iterable[str], roles: Mapping[str, LabRole]) -> list[str]:
    if selected.role is None:
        return [group for group in everybody if group == f"/{selected.slug}"]
    role = roles.get(selected.slug)
    return [] if role is None or not role.contains(selected.role) else [f"/{selected.slug}/{selected.role.value}"]
