"""What a user allowed a client."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from idp.domain.lab import LabRole

# What a consent says about a lab instead of a role: no; or that the user did not hold there what was asked for.
DECLINED = "declined"
NOT_HELD = "not_held"
# Under this name stands what holds for labs that the user joins later. No lab is called that.
LATER = "*"

# By the slug of each lab, which is never another lab's: the highest role that may be told, or one of the words above.
LabConsent = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """The scopes that one user gave to one client, remembered until withdrawn, and the labs that it may see.

    `labs` is None where no lab was asked for yet.
    """

    user_id: str
    client_id: str
    scopes: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    labs: LabConsent | None = None


def role_given(labs: LabConsent, slug: str) -> LabRole | None:
    """Return the highest role in a lab that may be told; None when the lab may not be told at all."""
    answer = labs.get(slug, NOT_HELD)
    return _ROLES.get(answer if answer != NOT_HELD else labs.get(LATER, DECLINED))


def unasked(labs: LabConsent | None) -> LabConsent:
    """Return a consent that nobody had to give: what was refused nevertheless stays refused, all else is given."""
    return {**(labs or {}), LATER: LabRole.ADMIN.value}


def narrowed(labs: LabConsent, by: LabConsent) -> LabConsent:
    """Return what both consents allow."""
    roles = {slug: (role_given(labs, slug), role_given(by, slug)) for slug in {**labs, **by}}
    return {
        slug: DECLINED if role is None or other is None else role.capped(other).value
        for slug, (role, other) in roles.items()
    }


def covers_labs(held: LabConsent, used: LabConsent) -> bool:
    """Whether a consent says yes to all that another one says yes to."""
    roles = [(role_given(held, slug), role_given(used, slug)) for slug in {**held, **used}]
    return all(needed is None or (role is not None and role.contains(needed)) for role, needed in roles)


_ROLES = {role.value: role for role in LabRole}
