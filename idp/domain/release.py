"""What is released to a client at one moment: the one function behind every token, answer and preview.

(user, memberships, client, consent, scope, now) → claims, and for each claim and lab the reason why it is there or not.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from idp.domain.claims import SCOPE_OF_CLAIM, EntitlementNamespace, lab_claims, user_claims
from idp.domain.client import Client
from idp.domain.consent import LabConsent
from idp.domain.lab import LabMembership
from idp.domain.lab_release import AllowedLabs, LabRelease, release_labs
from idp.domain.lab_scope import LAB_SCOPES, read_lab_request
from idp.domain.user import User

# A token that says that somebody is an admin is believed for a shorter time.
ADMIN_TOKEN_TTL = timedelta(minutes=5)


class ClaimReason(StrEnum):
    """Why a claim is there, or is not."""

    RELEASED = "released"
    NOT_REQUESTED = "not_requested"
    NOT_ON_FILE = "not_on_file"
    NOT_IN_PROFILE = "not_in_profile"
    NO_NAMESPACE = "no_namespace"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class Release:
    """The claims, what of the scope is granted, and the labs that are told of, each with its reason."""

    claims: Mapping[str, Any]
    scope: tuple[str, ...]
    labs: LabRelease
    client: Client
    namespace: EntitlementNamespace | None

    @property
    def reasons(self) -> dict[str, ClaimReason]:
        """For every claim that there is, why it is released or not."""
        return {name: self._reason(name) for name in SCOPE_OF_CLAIM}

    def expires_at(self, latest: datetime, *, now: datetime) -> datetime:
        """Return when a token that says this ends: with the first membership, or soon where it tells of an admin."""
        ends = [latest, self.labs.ends_at, now + ADMIN_TOKEN_TTL if self.labs.as_admin else None]
        return min(end for end in ends if end is not None)

    def _reason(self, name: str) -> ClaimReason:
        if self.client.claim_aliases.get(name, name) in self.claims:
            return ClaimReason.RELEASED
        if name not in LAB_SCOPES:
            requested = SCOPE_OF_CLAIM[name] in self.scope
            return ClaimReason.NOT_ON_FILE if requested else ClaimReason.NOT_REQUESTED
        if name not in self.labs.request.claims:
            return ClaimReason.NOT_REQUESTED
        if "labs_overflow" in self.claims:
            return ClaimReason.TOO_LARGE
        if name == "entitlements" and self.namespace is None:
            return ClaimReason.NO_NAMESPACE
        return ClaimReason.NOT_IN_PROFILE


def release(
    client: Client,
    scope: Iterable[str],
    *,
    now: datetime,
    user: User | None = None,
    memberships: Sequence[LabMembership] = (),
    consent: LabConsent | None = None,
    acr: str | None = None,
    allowed: AllowedLabs | None = None,
    reader: AllowedLabs = "*",
    ending: timedelta = timedelta(0),
    namespace: EntitlementNamespace | None = None,
    max_lab_bytes: int | None = None,
) -> Release:
    """Return what is released of a checked scope.

    Without a `user` only labs are told of. `consent` is None where labs need none; `acr` is how the user signed in.
    `allowed` are the labs that may be told of, by default those of the client; `reader` those that whoever reads may
    see. A membership that ends within `ending` is left out.
    """
    scope = tuple(scope)
    labs = release_labs(
        memberships,
        read_lab_request(scope),
        allowed=client.allowed_labs if allowed is None else allowed,
        consent=consent,
        now=now,
        acr=acr,
        reader=reader,
        ending=ending,
    )
    claims = {} if user is None else user_claims(user, scope)
    claims |= lab_claims(labs, client, namespace=namespace, max_bytes=max_lab_bytes)
    # Without a namespace there is no such scope.
    granted = tuple(token for token in labs.scope(scope) if token != "entitlements" or namespace is not None)
    return Release(claims, granted, labs, client, namespace)
