"""Who belongs to labs and who asks to, as part of `idp lab`."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idp.cli.run import Json, LabSlug, Person, echo_json, every, over_store, refuse, until
from idp.domain.lab import LabRole

if TYPE_CHECKING:
    from idp.domain.join_request import JoinRequest
    from idp.domain.lab import LabMember, Membership
    from idp.domain.user import User
    from idp.opening import Opened
    from idp.services.lab_csv import LabCsv
    from idp.services.lab_import import ImportPlan


def members(
    lab: LabSlug,
    search: Annotated[str | None, typer.Option(help="How words of address, user name or name begin.")] = None,
    role: Annotated[LabRole | None, typer.Option(help="Only this role.")] = None,
    as_json: Json = False,
) -> None:
    """List the members of a lab."""

    async def run(opened: "Opened") -> "tuple[list[LabMember], datetime]":
        from idp.services.lab_permissions import OPERATOR
        from idp.services.labs import Labs
        from idp.services.paging import LONGEST_PAGE

        labs = Labs(opened.store, opened.clock)
        found = await every(
            lambda after: labs.members(OPERATOR, lab, search=search, role=role, after=after, limit=LONGEST_PAGE)
        )
        return found, opened.clock()

    found, now = over_store(run)
    if as_json:
        echo_json([_document(each, now) for each in found])
        return
    for each in found:
        told = f"{each.membership.role:<6}  {each.user.label}{until(each.membership.expires_at)}"
        typer.echo(told if each.membership.valid(now=now) else f"{told} ({_state(each.membership, now)})")


def add_member(
    lab: LabSlug,
    user: Person,
    role: Annotated[LabRole, typer.Option(help="Role in the lab.")] = LabRole.MEMBER,
    not_before: Annotated[str | None, typer.Option(help="Date or time from which it counts.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="Date at whose end, or time at which, it ends.")] = None,
    as_json: Json = False,
) -> None:
    """Make somebody a member of a lab, or change the membership that they have."""
    raw = {"lab": lab, "user": user, "role": role, "not_before": not_before, "expires_at": expires_at}

    async def run(opened: "Opened") -> "tuple[Membership, bool]":
        from idp.services.lab_input import MembershipInput
        from idp.services.lab_permissions import OPERATOR
        from idp.services.labs import Labs

        membership = await Labs(opened.store, opened.clock).set_member(OPERATOR, MembershipInput.read(raw))
        return membership, membership.expires_at is not None and membership.expires_at <= opened.clock()

    membership, ended = over_store(run)
    if ended:
        typer.echo(f"warning: expires_at {expires_at} is in the past: the membership does not count", err=True)
    if as_json:
        names = ("lab_id", "user_id", "role", "not_before", "expires_at")
        echo_json({name: getattr(membership, name) for name in names})
    else:
        typer.echo(f"{user} is {membership.role} of {lab}{until(membership.expires_at)}")


def remove_member(lab: LabSlug, user: Person) -> None:
    """End somebody's membership of a lab."""

    async def run(opened: "Opened") -> None:
        from idp.services.lab_permissions import OPERATOR
        from idp.services.labs import Labs

        await Labs(opened.store, opened.clock).remove_member(OPERATOR, lab, user)

    over_store(run)
    typer.echo(f"{user} is no member of {lab} any more")


def requests(lab: LabSlug, as_json: Json = False) -> None:
    """List who asks to join a lab, the oldest request first; its admins decide, or `idp lab add-member` does."""

    async def run(opened: "Opened") -> "list[tuple[JoinRequest, User]]":
        from idp.services.join_requests import JoinRequests
        from idp.services.lab_permissions import OPERATOR
        from idp.services.paging import LONGEST_PAGE

        waiting = JoinRequests(opened.store, opened.outbox, opened.clock, issuer=opened.settings.issuer)
        return await every(lambda after: waiting.of_lab(OPERATOR, lab, after=after, limit=LONGEST_PAGE))

    waiting = over_store(run)
    if as_json:
        echo_json([{**_person(user), "message": each.message, "created_at": each.created_at} for each, user in waiting])
        return
    for request, user in waiting:
        message = "" if request.message is None else f": {' '.join(request.message.split())}"
        typer.echo(f"{request.created_at:%Y-%m-%d}  {user.label}{message}")


def import_members(
    lab: LabSlug,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="A file in CSV.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would happen, and do nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Make people members as a CSV file says, all or nothing; who has no account is invited by mail."""

    async def run(opened: "Opened") -> "ImportPlan":
        from idp.services.lab_permissions import OPERATOR

        csv, content = _csv(opened), file.read_bytes()
        plan = await csv.dry_run(OPERATOR, lab, content)
        if dry_run or plan.faults:
            return plan
        return await csv.run(OPERATOR, lab, content, digest=plan.digest)

    plan = over_store(run)
    if as_json:
        names = ("line", "user", "role", "expires_at", "outcome", "fault")
        rows = [{name: getattr(row, name) for name in names} for row in plan.rows]
        echo_json({"dry_run": dry_run, "rows": rows})
    for row in plan.rows:
        if row.fault is not None:
            typer.echo(f"error: {file}:{row.line}: {row.fault}", err=True)
        elif not as_json:
            typer.echo(f"{row.line}: {row.outcome}: {row.user}")
    if plan.faults:
        refuse("nothing was done")
    if dry_run and not as_json:
        typer.echo("nothing was done (--dry-run)")


def export_members(lab: LabSlug) -> None:
    """Print the members of a lab as CSV, as `idp lab import` reads it."""

    async def run(opened: "Opened") -> None:
        from idp.services.lab_permissions import OPERATOR

        async for text in await _csv(opened).export(OPERATOR, lab):
            typer.echo(text, nl=False)

    over_store(run)


def _csv(opened: "Opened") -> "LabCsv":
    from idp.services.invitations import Invitations
    from idp.services.lab_csv import LabCsv
    from idp.services.labs import Labs

    issuer = opened.settings.issuer
    invitations = Invitations(opened.store, opened.outbox, opened.clock, issuer=issuer)
    return LabCsv(opened.store, Labs(opened.store, opened.clock), invitations, opened.clock)


def _document(member: "LabMember", now: datetime) -> dict[str, Any]:
    names = ("role", "not_before", "expires_at", "created_at", "granted_by")
    membership = {name: getattr(member.membership, name) for name in names}
    return {**_person(member.user), **membership, "state": _state(member.membership, now)}


def _person(user: "User") -> dict[str, Any]:
    return {"user_id": user.id, "email": user.email, "username": user.username, "name": user.name}


def _state(membership: "Membership", now: datetime) -> str:
    if membership.valid(now=now):
        return "counts"
    return "not yet" if membership.not_before is not None and now < membership.not_before else "ended"
