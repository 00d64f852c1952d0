"""Which labs are told of, with which role, and why: memberships ∩ client ∩ consent ∩ request, judged at one moment."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, NamedTuple

from idp.domain.acr import reaches
from idp.domain.consent import LabConsent, role_given
from idp.domain.lab import Lab, LabMembership, LabRole, LabStatus
from idp.domain.lab_scope import LabRequest, as_confined, names_lab, parse_lab_scope

AllowedLabs = tuple[str, ...] | Literal["*"]
# What ends sooner is not put into a token, which would be worth nothing when it arrives.
ENDING = timedelta(seconds=60)


class LabReason(StrEnum):
    """Why a lab is not told of."""

    NOT_REQUESTED = "not_requested"
    NOT_ALLOWED = "not_allowed"
    HIDDEN_FROM_READER = "hidden_from_reader"
    ARCHIVED = "archived"
    NOT_YET = "not_yet"
    ENDED = "ended"
    ENDS_AT_ONCE = "ends_at_once"
    NOT_CONSENTED = "not_consented"
    ROLE_TOO_LOW = "role_too_low"
    NOT_A_MEMBER = "not_a_member"


class ReleasedLab(NamedTuple):
    """A lab that is told of, with the role that is told and when the membership ends."""

    lab: Lab
    role: LabRole
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class LabRelease:
    """The labs that are told of, in the order in which they are told, and by slug why others are not."""

    request: LabRequest
    labs: tuple[ReleasedLab, ...]
    reasons: Mapping[str, LabReason]

    @property
    def ends_at(self) -> datetime | None:
        """When the first of the memberships ends."""
        return min((lab.expires_at for lab in self.labs if lab.expires_at is not None), default=None)

    @property
    def as_admin(self) -> bool:
        """Whether an admin's role is told."""
        return any(lab.role is LabRole.ADMIN for lab in self.labs)

    def scope(self, scope: Iterable[str]) -> tuple[str, ...]:
        """Return what of a scope is granted: each lab that it names is told of, with at least the role it names."""
        tokens = tuple(scope)
        if not any(map(names_lab, tokens)):
            return tokens
        roles = {released.lab.slug: released.role for released in self.labs}
        return as_confined(tuple(token for token in tokens if not names_lab(token) or _is_met(token, roles)), tokens)


def release_labs(
    memberships: Sequence[LabMembership],
    request: LabRequest,
    *,
    allowed: AllowedLabs,
    consent: LabConsent | None,
    now: datetime,
    acr: str | None = None,
    reader: AllowedLabs = "*",
    ending: timedelta = timedelta(0),
) -> LabRelease:
    """Return the labs that are told of.

    `consent` is None where none is needed. `acr` is how the user signed in. `reader` is what the one who reads may see.
    A membership that ends within `ending` counts as ended.
    """
    if not request.claims:
        return LabRelease(request, (), {})
    named, everything = request.named, request.all_labs
    released: dict[str, ReleasedLab] = {}
    reasons = dict.fromkeys(named, LabReason.NOT_A_MEMBER)
    soon = now + ending
    # One turn for each of the labs, which may be hundreds: what is asked here is asked in the fastest way.
    for held in memberships:
        lab, membership = held.lab, held.membership
        slug, role, expires_at = lab.slug, membership.role, membership.expires_at
        if not everything and slug not in named:
            reasons[slug] = LabReason.NOT_REQUESTED
        elif allowed != "*" and slug not in allowed:
            reasons[slug] = LabReason.NOT_ALLOWED
        elif reader != "*" and slug not in reader:
            reasons[slug] = LabReason.HIDDEN_FROM_READER
        elif lab.status is not LabStatus.ACTIVE:
            reasons[slug] = LabReason.ARCHIVED
        elif membership.not_before is not None and now < membership.not_before:
            reasons[slug] = LabReason.NOT_YET
        elif expires_at is not None and expires_at <= soon:
            reasons[slug] = LabReason.ENDED if expires_at <= now else LabReason.ENDS_AT_ONCE
        else:
            if role is LabRole.ADMIN and lab.admin_acr is not None and not reaches(acr, lab.admin_acr):
                role = LabRole.MEMBER
            if consent is not None:
                given = role_given(consent, slug)
                if given is None:
                    reasons[slug] = LabReason.NOT_CONSENTED
                    continue
                role = role.capped(given)
            told = _capped(role, named[slug], everything=everything) if slug in named else role
            if told is None:
                reasons[slug] = LabReason.ROLE_TOO_LOW
            else:
                released[slug] = ReleasedLab(lab, told, expires_at)
    for slug in named:
        if slug in released:
            del reasons[slug]
    first = [released.pop(slug) for slug in named if slug in released]
    return LabRelease(request, (*first, *released.values()), reasons)


def _capped(role: LabRole, caps: Iterable[LabRole | None], *, everything: bool) -> LabRole | None:
    """Return what is told of a role where scopes name its lab: a scope above the role is not granted."""
    granted = [cap or role for cap in caps if cap is None or role.contains(cap)]
    if not granted:
        return role if everything else None
    # Members of the set are declared from the highest on.
    return min(granted, key=list(LabRole).index)


def _is_met(token: str, roles: Mapping[str, LabRole]) -> bool:
    asked = parse_lab_scope(token)
    role = roles.get(asked.slug)
    return role is not None and (asked.role is None or role.contains(asked.role))
