"""What labs give to services, as part of `idp lab`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from idp.cli.run import Json, LabSlug, echo_json, over_store, until
from idp.domain.lab import LabRole

if TYPE_CHECKING:
    from idp.domain.lab_grant import LabGrant
    from idp.opening import Opened

_Service = Annotated[str, typer.Argument(metavar="CLIENT_ID", help="A client with client_credentials.")]


def grant_service(
    lab: LabSlug,
    client_id: _Service,
    role: Annotated[LabRole, typer.Option(help="Role in the lab.")] = LabRole.MEMBER,
    expires_at: Annotated[
        str | None, typer.Option(help="Date at whose end, or time at which, it ends: within a year, which is usual.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Let a service say that it belongs to a lab, or change what it was given."""
    raw = {"lab": lab, "client_id": client_id, "role": role, "expires_at": expires_at}

    async def run(opened: "Opened") -> "LabGrant":
        from idp.services.lab_grants import LabGrantInput, LabGrants
        from idp.services.lab_permissions import OPERATOR

        grants = LabGrants(opened.store, opened.clients, opened.clock)
        return await grants.give(OPERATOR, LabGrantInput.read(raw))

    grant = over_store(run)
    if as_json:
        echo_json({"lab": lab, **document(grant)})
    else:
        typer.echo(f"{client_id} is {grant.role} of {lab}{until(grant.expires_at)}")


def revoke_service(lab: LabSlug, client_id: _Service) -> None:
    """Take back what a lab gave to a service."""

    async def run(opened: "Opened") -> None:
        from idp.services.lab_grants import LabGrants
        from idp.services.lab_permissions import OPERATOR

        await LabGrants(opened.store, opened.clients, opened.clock).withdraw(OPERATOR, lab, client_id)

    over_store(run)
    typer.echo(f"{client_id} has nothing of {lab} any more")


def document(grant: "LabGrant") -> dict[str, Any]:
    """Return a grant as a lab tells of it."""
    names = ("client_id", "role", "granted_by", "expires_at")
    return {name: getattr(grant, name) for name in names}
