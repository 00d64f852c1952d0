"""Invitations into labs, as part of `idp lab`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from idp.cli.run import Json, LabSlug, echo_json, every, over_store, until
from idp.domain.lab import LabRole

if TYPE_CHECKING:
    from datetime import datetime

    from idp.domain.invitation import Invitation
    from idp.opening import Opened
    from idp.services.invitations import Invitations


def invite(
    lab: LabSlug,
    email: Annotated[str | None, typer.Option(help="Whom to mail it to; without, it is a link for one person.")] = None,
    role: Annotated[LabRole, typer.Option(help="Role in the lab; a link gives at most member.")] = LabRole.MEMBER,
    expires_at: Annotated[
        str | None, typer.Option(help="Date or time until which it can be accepted; two weeks by default.")
    ] = None,
    ends_at: Annotated[str | None, typer.Option(help="Date or time at which the membership will end.")] = None,
    as_json: Json = False,
) -> None:
    """Invite somebody into a lab and show the link, this once; a running server sends the mail."""
    raw = {"lab": lab, "email": email, "role": role, "expires_at": expires_at, "ends_at": ends_at}

    async def run(opened: "Opened") -> "tuple[Invitation, str, datetime]":
        from idp.services.invitations import InvitationInput
        from idp.services.lab_permissions import OPERATOR

        given = InvitationInput.read(raw)
        return *await _invitations(opened).invite(OPERATOR, given), opened.clock()

    invitation, url, now = over_store(run)
    if as_json:
        echo_json({**_document(invitation, now), "url": url})
        return
    typer.echo(f"id: {invitation.id}")
    typer.echo(f"for: {invitation.email or 'whoever has the link'}, as {invitation.role}{until(invitation.ends_at)}")
    typer.echo(f"to be accepted{until(invitation.expires_at)}")
    typer.echo(f"link, shown this once: {url}")


def invitations(lab: LabSlug, as_json: Json = False) -> None:
    """List the invitations into a lab: those that wait, then the others, of both the newest first."""

    async def run(opened: "Opened") -> "tuple[list[Invitation], datetime]":
        from idp.services.lab_permissions import OPERATOR
        from idp.services.paging import LONGEST_PAGE

        held = _invitations(opened)
        found = await every(lambda after: held.of_lab(OPERATOR, lab, after=after, limit=LONGEST_PAGE))
        return found, opened.clock()

    found, now = over_store(run)
    if as_json:
        echo_json([_document(each, now) for each in found])
        return
    for each in found:
        status, to = each.status(now=now), each.email or "a link"
        typer.echo(f"{each.id}  {status:<8}  {each.expires_at:%Y-%m-%d}  {each.role:<6}  {to}")


def revoke_invitation(lab: LabSlug, invitation: Annotated[str, typer.Argument(metavar="INVITATION")]) -> None:
    """Take an invitation back."""

    async def run(opened: "Opened") -> None:
        from idp.services.lab_permissions import OPERATOR

        await _invitations(opened).revoke(OPERATOR, lab, invitation)

    over_store(run)
    typer.echo(f"revoked: {invitation}")


def _invitations(opened: "Opened") -> "Invitations":
    from idp.services.invitations import Invitations

    return Invitations(opened.store, opened.outbox, opened.clock, issuer=opened.settings.issuer)


def _document(invitation: "Invitation", now: "datetime") -> dict[str, Any]:
    names = ("id", "role", "email", "invited_by", "created_at", "expires_at", "ends_at", "answered_by")
    return {**{name: getattr(invitation, name) for name in names}, "status": invitation.status(now=now)}
