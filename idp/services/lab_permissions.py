"""Who may do what in labs: one set of rules for pages, the API and the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from idp.domain.acr import reaches
from idp.domain.client import Client
from idp.domain.consent import DECLINED, LabConsent
from idp.domain.lab import Lab, LabMembership, LabRole, LabStatus
from idp.domain.lab_release import AllowedLabs, release_labs
from idp.domain.lab_scope import names_lab, read_lab_request
from idp.domain.user import AdminRole, User
from idp.store.errors import NotFound
from idp.store.store import Transaction


class Forbidden(Exception):
    """The actor may see the lab, but not do this to it; the text says to them what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts: a person, a service, or whoever holds the machine. `id` is for the audit log.

    `roles` are those in labs, by the lab's id, that count now; `sees_all` and `manages_all` come with the
    administration of the installation. `acr` is how a person signed in. `through` is the application that acts for
    them: within `labs`, and not in those that they keep back from it, `hidden`.
    """

    id: str
    sees_all: bool = False
    manages_all: bool = False
    roles: Mapping[str, LabRole] = field(default_factory=dict)
    acr: str | None = None
    through: str | None = None
    labs: AllowedLabs = "*"
    hidden: frozenset[str] = frozenset()

    def role_in(self, lab: Lab) -> LabRole | None:
        """Return the highest role that the actor may give to others in a lab, or take from them."""
        if not self._within(lab):
            return None
        return LabRole.ADMIN if self.manages_all else self.roles.get(lab.id)

    def sees(self, lab: Lab) -> bool:
        """Whether the lab exists for the actor."""
        return self._within(lab) and (self.sees_all or lab.id in self.roles)

    def manages(self, lab: Lab) -> bool:
        """Whether the actor looks after the lab."""
        return self.role_in(lab) is LabRole.ADMIN

    def _within(self, lab: Lab) -> bool:
        return (self.labs == "*" or lab.slug in self.labs) and lab.slug not in self.hidden


OPERATOR = Actor(id="cli", sees_all=True, manages_all=True)


@dataclass(frozen=True, slots=True)
class Through:
    """An application that acts for a person: what they let it be told of labs, and the scope of its token."""

    client: Client
    consent: LabConsent | None
    scope: tuple[str, ...]


async def acting_user(tx: Transaction, user: User, *, acr: str, now: datetime, through: Through | None = None) -> Actor:
    """Return a person as an actor, who signed in with `acr`.

    Through an application they have the labs and roles that it is told of, and no others. Where its scope names single
    labs it acts in those alone, whatever the person administers.
    """
    held = await tx.memberships.of_user(user.id)
    actor = Actor(
        id=user.id,
        sees_all=bool(user.roles),
        manages_all=not {AdminRole.SUPER_ADMIN, AdminRole.ADMIN}.isdisjoint(user.roles),
        roles={
            each.lab.id: _role(each.lab, each.membership.role, acr) for each in held if each.membership.valid(now=now)
        },
        acr=acr,
    )
    return actor if through is None else _narrowed(actor, held, through, now=now)


def _narrowed(actor: Actor, held: Sequence[LabMembership], through: Through, *, now: datetime) -> Actor:
    client, consent = through.client, through.consent
    named = tuple(filter(names_lab, through.scope))
    asked = read_lab_request(named or ("labs",))
    told = release_labs(held, asked, allowed=client.allowed_labs, consent=consent, now=now, acr=actor.acr)
    return replace(
        actor,
        sees_all=actor.sees_all and not named,
        manages_all=actor.manages_all and not named,
        roles={released.lab.id: released.role for released in told.labs},
        through=client.client_id,
        labs=client.allowed_labs,
        hidden=frozenset(slug for slug, answer in (consent or {}).items() if answer == DECLINED),
    )


async def acting_service(tx: Transaction, client: Client, *, now: datetime) -> Actor:
    """Return a service as an actor: it has what labs granted it.

    One that is trusted, and may see all labs, administers them all: both are given by super_admins only.
    """
    everywhere = client.trusted and client.allowed_labs == "*"
    held = await tx.lab_grants.of_client(client.client_id)
    return Actor(
        id=client.client_id,
        sees_all=everywhere,
        manages_all=everywhere,
        roles={each.lab.id: each.membership.role for each in held if each.membership.valid(now=now)},
    )


def _role(lab: Lab, role: LabRole, acr: str) -> LabRole:
    weak = lab.admin_acr is not None and not reaches(acr, lab.admin_acr)
    return LabRole.MEMBER if weak and role is LabRole.ADMIN else role


async def seen_lab(tx: Transaction, actor: Actor, slug: str) -> Lab:
    """Return a lab that the actor sees.

    Raises:
        NotFound: there is none, or not for this actor; the two cannot be told apart.
    """
    lab = await tx.labs.find_by_slug(slug)
    if lab is None or not actor.sees(lab):
        raise NotFound(f"there is no lab {slug}")
    return lab


async def managed_lab(tx: Transaction, actor: Actor, slug: str, *, granting: LabRole | None = None) -> Lab:
    """Return a lab that the actor looks after, and in which they may give the role `granting`.

    Raises:
        NotFound: as for `seen_lab`.
        Forbidden: the actor is no admin of it, or the role is above their own.
    """
    lab = await seen_lab(tx, actor, slug)
    held = actor.role_in(lab)
    if held is not LabRole.ADMIN:
        raise Forbidden("Only an admin of the lab may do this.")
    if granting is not None and not held.contains(granting):
        raise Forbidden("Nobody gives a higher role than their own.")
    return lab


def check_open(lab: Lab) -> None:
    """Check that people may come into a lab.

    Raises:
        Forbidden: it is archived.
    """
    if lab.status is not LabStatus.ACTIVE:
        raise Forbidden("The lab is archived.")


def check_installation_admin(actor: Actor) -> None:
    """Check that the actor administers the installation, and not as part of an application that sees some labs only.

    Raises:
        Forbidden: they do not.
    """
    if not actor.manages_all or actor.labs != "*":
        raise Forbidden("Only whoever administers the installation may do this.")


def check_not_its_own(actor: Actor, client_id: str) -> None:
    """Check that no application gives anything to itself that would outlive what the person allowed it.

    Raises:
        Forbidden: it does.
    """
    if actor.through == client_id:
        raise Forbidden("An application gives nothing to itself. An admin of the lab does this on its pages.")
