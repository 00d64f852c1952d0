"""`idp lab`: labs, and all that belongs to them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from idp.cli import lab_invitations, lab_members, lab_rules, lab_services
from idp.cli.run import Json, LabSlug, echo_json, every, group, over_store, refuse
from idp.domain.lab import LabStatus

if TYPE_CHECKING:
    from idp.domain.lab import Lab
    from idp.opening import Opened

app = group("Labs, their members, and what they give to services.")

_Name = Annotated[str | None, typer.Option(help="Name that people read.")]
_Description = Annotated[str | None, typer.Option(help="A few lines.")]
_Homepage = Annotated[str | None, typer.Option(help="Web address.")]
_Contact = Annotated[str | None, typer.Option(help="Whom to ask.")]
_Logo = Annotated[str | None, typer.Option(help="Address of the logo.")]
_AdminAcr = Annotated[
    str | None, typer.Option(help="How surely its admins sign in: 2 for two factors; who does less is a mere member.")
]
_Requests = Annotated[
    bool | None,
    typer.Option("--accepts-join-requests/--no-accepts-join-requests", help="Whether anybody may ask to join."),
]


@app.command("list")
def list_labs(
    search: Annotated[str | None, typer.Option(help="Part of slug or name.")] = None, as_json: Json = False
) -> None:
    """List the labs in the order of their slugs."""

    async def run(opened: "Opened") -> "list[Lab]":
        from idp.services.lab_permissions import OPERATOR
        from idp.services.labs import Labs
        from idp.services.paging import LONGEST_PAGE

        labs = Labs(opened.store, opened.clock)
        return await every(lambda after: labs.list(OPERATOR, search=search, after=after, limit=LONGEST_PAGE))

    labs = over_store(run)
    if as_json:
        echo_json([_document(lab) for lab in labs])
        return
    for lab in labs:
        archived = "" if lab.status is LabStatus.ACTIVE else f" ({lab.status})"
        typer.echo(f"{lab.slug:<39}  {lab.name}{archived}")


@app.command()
def show(slug: LabSlug, as_json: Json = False) -> None:
    """Show a lab: its profile as an apply file writes it, its admins, and what it gives to services."""
    import yaml

    from idp.services.export import plain

    async def run(opened: "Opened") -> dict[str, Any]:
        from idp.services.lab_permissions import OPERATOR
        from idp.services.labs import Labs

        return await _whole_document(opened, await Labs(opened.store, opened.clock).find(OPERATOR, slug))

    document = over_store(run)
    if as_json:
        echo_json(document)
    else:
        typer.echo(yaml.safe_dump(plain(document), sort_keys=False, allow_unicode=True), nl=False)


@app.command()
def create(
    slug: LabSlug,
    name: Annotated[str, typer.Option(help="Name that people read.")],
    description: _Description = None,
    homepage: _Homepage = None,
    contact: _Contact = None,
    logo_uri: _Logo = None,
    admin_acr: _AdminAcr = None,
    accepts_join_requests: _Requests = None,
    as_json: Json = False,
) -> None:
    """Create a lab; its slug can never be changed or given to another."""
    raw = {
        "slug": slug,
        "name": name,
        "description": description,
        "homepage": homepage,
        "contact": contact,
        "logo_uri": logo_uri,
        "admin_acr": admin_acr,
        "accepts_join_requests": accepts_join_requests or False,
    }

    async def run(opened: "Opened") -> dict[str, Any]:
        from idp.services.lab_input import LabInput
        from idp.services.lab_permissions import OPERATOR
        from idp.services.labs import Labs

        lab = await Labs(opened.store, opened.clock).create(OPERATOR, LabInput.read(raw))
        return await _whole_document(opened, lab)

    _show("created", over_store(run), as_json=as_json)


@app.command()
def update(
    slug: LabSlug,
    name: _Name = None,
    description: _Description = None,
    homepage: _Homepage = None,
    contact: _Contact = None,
    logo_uri: _Logo = None,
    admin_acr: _AdminAcr = None,
    accepts_join_requests: _Requests = None,
    as_json: Json = False,
) -> None:
    """Change what is given here and leave the rest; an empty text takes something away."""
    texts = {
        "description": description,
        "homepage": homepage,
        "contact": contact,
        "logo_uri": logo_uri,
        "admin_acr": admin_acr,
    }
    changes: dict[str, Any] = {field: text or None for field, text in texts.items() if text is not None}
    if name is not None:
        changes["name"] = name
    if accepts_join_requests is not None:
        changes["accepts_join_requests"] = accepts_join_requests
    if not changes:
        refuse("nothing is given that would change: see `idp lab update --help`")
    _show("changed", _update(slug, changes), as_json=as_json)


@app.command()
def archive(slug: LabSlug, as_json: Json = False) -> None:
    """Keep a lab, but release it to no application."""
    _show("archived", _update(slug, {"status": LabStatus.ARCHIVED}), as_json=as_json)


@app.command()
def restore(slug: LabSlug, as_json: Json = False) -> None:
    """Let an archived lab take part again."""
    _show("restored", _update(slug, {"status": LabStatus.ACTIVE}), as_json=as_json)


@app.command()
def delete(
    slug: LabSlug, yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the slug to be typed.")] = False
) -> None:
    """Delete a lab with its memberships, invitations and grants, for ever; its slug is never given out again."""

    async def look(opened: "Opened") -> int:
        from idp.services.lab_permissions import OPERATOR
        from idp.services.labs import Labs

        return await Labs(opened.store, opened.clock).count_members(OPERATOR, slug)

    async def run(opened: "Opened") -> None:
        from idp.services.lab_permissions import OPERATOR
        from idp.services.labs import Labs

        await Labs(opened.store, opened.clock).delete(OPERATOR, slug)

    if not yes:
        members = over_store(look)
        typed = typer.prompt(f"{slug} has {members} members. To delete it for ever, type its slug", err=True)
        if typed != slug:
            refuse("that is not its slug: nothing was deleted")
    over_store(run)
    typer.echo(f"deleted: {slug}")


def _update(slug: str, changes: dict[str, Any]) -> dict[str, Any]:
    async def run(opened: "Opened") -> dict[str, Any]:
        from idp.services.lab_input import LabChanges
        from idp.services.lab_permissions import OPERATOR
        from idp.services.labs import Labs

        lab = await Labs(opened.store, opened.clock).update(OPERATOR, slug, LabChanges.read(changes))
        return await _whole_document(opened, lab)

    return over_store(run)


def _document(lab: "Lab") -> dict[str, Any]:
    from idp.services.export import lab_document

    return {"id": lab.id, **lab_document(lab)}


async def _whole_document(opened: "Opened", lab: "Lab") -> dict[str, Any]:
    from idp.services.lab_grants import LabGrants
    from idp.services.lab_permissions import OPERATOR
    from idp.services.labs import Labs

    labs = Labs(opened.store, opened.clock)
    admins = await labs.admins(OPERATOR, lab.slug)
    services = await LabGrants(opened.store, opened.clients, opened.clock).of_lab(OPERATOR, lab.slug)
    return {
        **_document(lab),
        "created_at": lab.created_at,
        "members": await labs.count_members(OPERATOR, lab.slug),
        "admins": [member.user.label for member in admins],
        "services": [lab_services.document(grant) for grant, _ in services],
    }


def _show(what: str, document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        echo_json(document)
    else:
        typer.echo(f"{what}: {document['slug']} ({document['id']})")


app.command()(lab_members.members)
app.command()(lab_members.add_member)
app.command()(lab_members.remove_member)
app.command("import")(lab_members.import_members)
app.command("export")(lab_members.export_members)
app.command()(lab_members.requests)
app.command()(lab_invitations.invite)
app.command()(lab_invitations.invitations)
app.command()(lab_invitations.revoke_invitation)
app.command()(lab_services.grant_service)
app.command()(lab_services.revoke_service)
app.command()(lab_rules.rules)
app.command()(lab_rules.preview_rule)
app.command()(lab_rules.add_rule)
app.command()(lab_rules.remove_rule)
