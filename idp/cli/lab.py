"""`idp lab`: labs and their members."""

from typing import TYPE_CHECKING, Annotated

import typer

from idp.cli.run import ACTOR, Json, echo_json, group, over_store
from idp.domain.lab import LabRole

if TYPE_CHECKING:
    from idp.app import Opened
    from idp.domain.lab import Lab, Membership

app = group("Labs and their members.")

_Slug = Annotated[str, typer.Argument(metavar="LAB", help="Slug of the lab.")]
_Who = Annotated[str, typer.Argument(metavar="USER", help="E-mail address, user name or id.")]


@app.command()
def create(
    slug: _Slug,
    name: Annotated[str, typer.Option(help="Name that people read.")],
    description: Annotated[str | None, typer.Option()] = None,
    homepage: Annotated[str | None, typer.Option()] = None,
    contact: Annotated[str | None, typer.Option()] = None,
    as_json: Json = False,
) -> None:
    """Create a lab; its slug can never be changed or given to another."""
    raw = {"slug": slug, "name": name, "description": description, "homepage": homepage, "contact": contact}

    async def run(opened: "Opened") -> "Lab":
        from idp.services.labs import LabInput, Labs

        return await Labs(opened.store, opened.clock).create(LabInput.read(raw), actor=ACTOR)

    lab = over_store(run)
    if as_json:
        echo_json({"id": lab.id, "slug": lab.slug, "name": lab.name})
    else:
        typer.echo(f"created: {lab.slug} ({lab.id})")


@app.command()
def add_member(
    lab: _Slug,
    user: _Who,
    role: Annotated[LabRole, typer.Option(help="Role in the lab.")] = LabRole.MEMBER,
    not_before: Annotated[str | None, typer.Option(help="Date or time from which it counts.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="Date at whose end, or time at which, it ends.")] = None,
    as_json: Json = False,
) -> None:
    """Make somebody a member of a lab, or change the membership that they have."""
    raw = {"lab": lab, "user": user, "role": role, "not_before": not_before, "expires_at": expires_at}

    async def run(opened: "Opened") -> "tuple[Membership, bool]":
        from idp.services.labs import Labs, MembershipInput

        membership = await Labs(opened.store, opened.clock).add_member(MembershipInput.read(raw), actor=ACTOR)
        return membership, membership.expires_at is not None and membership.expires_at <= opened.clock()

    membership, ended = over_store(run)
    if ended:
        typer.echo(f"warning: expires_at {expires_at} is in the past: the membership does not count", err=True)
    if as_json:
        names = ("lab_id", "user_id", "role", "not_before", "expires_at")
        echo_json({name: getattr(membership, name) for name in names})
    else:
        until = "" if membership.expires_at is None else f" until {membership.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        typer.echo(f"{user} is {membership.role} of {lab}{until}")


@app.command()
def remove_member(lab: _Slug, user: _Who) -> None:
    """End somebody's membership of a lab."""

    async def run(opened: "Opened") -> None:
        from idp.services.labs import Labs

        await Labs(opened.store, opened.clock).remove_member(lab, user, actor=ACTOR)

    over_store(run)
    typer.echo(f"{user} is no member of {lab} any more")
