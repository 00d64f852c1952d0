"""Labs and who belongs to them."""

from idp.domain.acr import reaches
from idp.domain.audit import AuditAction
from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.domain.lab import Lab, LabMember, LabRole, Membership
from idp.domain.lab_rule import LabDeparture
from idp.domain.user import User
from idp.services.audit import audit_event
from idp.services.input import InputRefused
from idp.services.lab_input import LabChanges, LabInput, MembershipInput
from idp.services.lab_members import check_keeps_admin, end_membership, locked_lab, newcomer, write_membership
from idp.services.lab_permissions import (
    Actor,
    Through,
    acting_service,
    acting_user,
    check_installation_admin,
    check_open,
    managed_lab,
    seen_lab,
)
from idp.services.paging import (
    Page,
    checked_limit,
    checked_search,
    label_position_in,
    page_of,
    read_cursor,
    word_position_in,
)
from idp.store.errors import Conflict, NotFound
from idp.store.members import label_position
from idp.store.store import Store, Transaction
from idp.store.words import sought


class Labs:
    """Administers labs; whoever asks is an `Actor`, and a lab that they do not see does not exist for them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    # ── Who asks ────────────────────────────────────────────────────────────────────────────────────────────────────
    async def actor_for(self, user: User, *, acr: str, through: Through | None = None) -> Actor:
        """Return a person as an actor, who signed in with `acr`, perhaps through an application."""
        async with self._store.read() as tx:
            return await acting_user(tx, user, acr=acr, now=self._clock(), through=through)

    async def actor_for_service(self, client: Client) -> Actor:
        """Return a service as an actor."""
        async with self._store.read() as tx:
            return await acting_service(tx, client, now=self._clock())

    # ── Labs ────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def find(self, actor: Actor, slug: str) -> Lab:
        """Return a lab.

        Raises:
            NotFound: there is none, or not for this actor.
        """
        async with self._store.read() as tx:
            return await seen_lab(tx, actor, slug)

    async def list(
        self, actor: Actor, *, search: str | None = None, after: str | None = None, limit: int = 50
    ) -> Page[Lab]:
        """Return the labs that the actor sees, in the order of their slugs; a search looks into slug and name.

        Raises:
            InputRefused: search, cursor or limit is none.
        """
        text, limit = checked_search(search), checked_limit(limit)
        (behind,) = ("",) if after is None else read_cursor(after, str)
        async with self._store.read() as tx:
            found = await tx.labs.page(
                ids=None if actor.sees_all else sorted(actor.roles),
                slugs=None if actor.labs == "*" else actor.labs,
                hidden=actor.hidden,
                search=text or None,
                after=str(behind),
                limit=limit + 1,
            )
        return page_of(found, limit=limit, position=lambda lab: (lab.slug,))

    async def create(self, actor: Actor, given: LabInput) -> Lab:
        """Create a lab.

        Raises:
            Forbidden: the actor does not administer the installation.
            InputRefused: the slug is or once was another lab's.
        """
        check_installation_admin(actor)
        now = self._clock()
        lab = given.lab(None, now=now)
        try:
            async with self._store.write() as tx:
                await check_slug_is_free(tx, given.slug)
                await tx.labs.add(lab)
                await tx.audit_events.add(
                    audit_event(AuditAction.LAB_CREATED, actor=actor.id, target=lab.id, now=now, slug=lab.slug)
                )
        except Conflict:
            raise InputRefused({("slug",): "there is a lab with this slug already"}) from None
        return lab

    async def update(self, actor: Actor, slug: str, changes: LabChanges) -> Lab:
        """Change a lab; only whoever administers the installation archives it and takes it back.

        Raises:
            NotFound: there is no such lab for the actor.
            Forbidden: they are no admin of it, or this is not theirs to change.
            InputRefused: its admins would have to sign in more surely than the one who says so.
        """
        async with self._store.write() as tx:
            now = self._clock()
            present = await locked_lab(tx, actor, slug, now=now)
            lab = changes.lab(present)
            if lab.admin_acr is not None and lab.admin_acr != present.admin_acr:
                _check_not_shut_out(actor, lab.admin_acr)
            if lab.status is not present.status:
                check_installation_admin(actor)
            fields = sorted(name for name in changes.model_fields_set if getattr(lab, name) != getattr(present, name))
            if fields:
                await tx.labs.save(lab)
                await tx.audit_events.add(
                    audit_event(AuditAction.LAB_UPDATED, actor=actor.id, target=lab.id, now=now, fields=fields)
                )
        return lab

    async def delete(self, actor: Actor, slug: str) -> None:
        """Delete a lab with everything in it; its slug is never given out again.

        Raises:
            NotFound: there is no such lab for the actor.
            Forbidden: they do not administer the installation.
        """
        async with self._store.write() as tx:
            now = self._clock()
            lab = await seen_lab(tx, actor, slug)
            check_installation_admin(actor)
            await tx.labs.bury(lab, now=now)
            await tx.audit_events.add(
                audit_event(AuditAction.LAB_DELETED, actor=actor.id, target=lab.id, now=now, slug=lab.slug)
            )

    # ── Members ─────────────────────────────────────────────────────────────────────────────────────────────────────
    async def members(
        self,
        actor: Actor,
        slug: str,
        *,
        search: str | None = None,
        role: LabRole | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page[LabMember]:
        """Return a lab's members: in the order of their labels, or those found by words' beginnings in that of words.

        Each word of a search begins one of the address, the user name or the name.

        Raises:
            NotFound: there is no such lab for the actor.
            Forbidden: they belong to it, but do not look after it.
            InputRefused: search, cursor or limit is none.
        """
        text, limit = checked_search(search), checked_limit(limit)
        words = sought(text)
        async with self._store.read() as tx:
            lab = await _opened_lab(tx, actor, slug)
            if words:
                last = None if after is None else word_position_in(after, words[0])
                hits = await tx.members.search(lab.id, words, after=last, limit=limit + 1, role=role)
                page = page_of(hits, limit=limit, position=lambda hit: (hit[0], hit[1].user.id))
                return Page(tuple(member for _, member in page.items), page.next)
            if text:
                return Page((), None)
            behind = None if after is None else label_position_in(after)
            found = await tx.members.page(lab.id, after=behind, limit=limit + 1, role=role)
        return page_of(found, limit=limit, position=lambda member: label_position(member.user))

    async def count_members(self, actor: Actor, slug: str) -> int:
        """Return how many members a lab has.

        Raises:
            NotFound, Forbidden: as for `members`.
        """
        async with self._store.read() as tx:
            return await tx.members.count((await _opened_lab(tx, actor, slug)).id)

    async def member(self, actor: Actor, slug: str, identifier: str) -> LabMember:
        """Return the member whom an id, an address or a user name means.

        Raises:
            NotFound: there is no such lab for the actor, or no such member.
            Forbidden: as for `members`.
        """
        async with self._store.read() as tx:
            lab = await _opened_lab(tx, actor, slug)
            member = await tx.members.find(lab.id, identifier)
        if member is None:
            raise NotFound(f"{identifier} is no member of {slug}")
        return member

    async def admins(self, actor: Actor, slug: str) -> tuple[LabMember, ...]:
        """Return who looks after a lab now, so that everybody who sees it knows whom to ask.

        Raises:
            NotFound: there is no such lab for the actor.
        """
        async with self._store.read() as tx:
            lab = await seen_lab(tx, actor, slug)
            return tuple(await tx.members.admins(lab.id, now=self._clock(), limit=50))

    async def set_member(self, actor: Actor, given: MembershipInput) -> Membership:
        """Change a membership; where there is none, make one.

        A lab's admin makes one for an id that they know from another lab of theirs (see `newcomer`), whoever
        administers the installation for anybody.

        Raises:
            NotFound: there is no such lab for the actor, or no such member.
            Forbidden: they are no admin of it, the lab is archived, or it would have no admin.
        """
        async with self._store.write() as tx:
            now = self._clock()
            lab = await locked_lab(tx, actor, given.lab, now=now, granting=given.role)
            member = await tx.members.find(lab.id, given.user)
            if member is None:
                check_open(lab)
                user, present = await newcomer(tx, actor, given.user, now=now), None
            else:
                user, present = member.user, member.membership
            membership = given.membership(present, lab, user, now=now, granted_by=actor.id)
            if present is not None and not actor.manages_all:
                await check_keeps_admin(tx, present, membership, now=now)
            if membership != present:
                await write_membership(tx, present, membership, actor=actor.id, now=now)
        return membership

    async def remove_member(self, actor: Actor, slug: str, identifier: str) -> None:
        """End a membership.

        Raises:
            NotFound: there is no such lab for the actor, or no such member.
            Forbidden: they are no admin of it, or it would have no admin.
        """
        async with self._store.write() as tx:
            now = self._clock()
            lab = await locked_lab(tx, actor, slug, now=now)
            member = await tx.members.find(lab.id, identifier)
            if member is None:
                raise NotFound(f"{identifier} is no member of {slug}")
            if not actor.manages_all:
                await check_keeps_admin(tx, member.membership, None, now=now)
            await end_membership(tx, member.membership, actor=actor.id, now=now)
            await tx.lab_departures.remember(
                LabDeparture(lab_id=lab.id, user_id=member.user.id, ended_by=actor.id, ended_at=now)
            )

    async def leave(self, user: User, slug: str) -> None:
        """End the user's own membership.

        Raises:
            NotFound: they belong to no such lab.
            Forbidden: they are its last admin.
        """
        async with self._store.write() as tx:
            now = self._clock()
            found = await tx.memberships.find_in(slug, user.id)
            if found is None:
                raise NotFound(f"there is no lab {slug}")
            await tx.labs.lock(found.lab.id)
            held = await tx.memberships.get(found.lab.id, user.id)
            await check_keeps_admin(tx, held, None, now=now)
            await end_membership(tx, held, actor=user.id, now=now, action=AuditAction.MEMBERSHIP_ENDED_BY_MEMBER)
            await tx.lab_departures.remember(
                LabDeparture(lab_id=found.lab.id, user_id=user.id, ended_by=user.id, ended_at=now)
            )


def _check_not_shut_out(actor: Actor, admin_acr: str) -> None:
    if actor.acr is not None and not actor.manages_all and not reaches(actor.acr, admin_acr):
        fault = "you are not signed in that strongly yourself, and could not change anything here any more"
        raise InputRefused({("admin_acr",): fault})


async def check_slug_is_free(tx: Transaction, slug: str) -> None:
    """Check that no lab has or had the slug.

    Raises:
        InputRefused: one has or had; relying parties may still know it.
    """
    if await tx.labs.find_by_slug(slug) is not None:
        raise InputRefused({("slug",): "there is a lab with this slug already"})
    if await tx.labs.slug_was_used(slug):
        raise InputRefused({("slug",): "it was a deleted lab's, and slugs are never given out again"})


async def _opened_lab(tx: Transaction, actor: Actor, slug: str) -> Lab:
    return await seen_lab(tx, actor, slug) if actor.sees_all else await managed_lab(tx, actor, slug)
