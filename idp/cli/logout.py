"""`idp logout-deliveries`: what applications have not been told of yet (OpenID Connect Back-Channel Logout 1.0)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from idp.cli.run import Json, echo_json, group, over_store

if TYPE_CHECKING:
    from idp.domain.logout import LogoutDelivery
    from idp.opening import Opened

app = group("Logout tokens that applications were to get and have not got.")


@app.command("list")
def list_deliveries(as_json: Json = False) -> None:
    """List what is still tried, and what was given up."""

    async def run(opened: "Opened") -> "Sequence[LogoutDelivery]":
        async with opened.store.read() as tx:
            return await tx.logout_deliveries.undelivered()

    _show(over_store(run), as_json=as_json)


@app.command()
def retry(delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY")], as_json: Json = False) -> None:
    """Try a delivery again, at once and with all its attempts."""

    async def run(opened: "Opened") -> "Sequence[LogoutDelivery]":
        from idp.services.backchannel_logout import retry as retry_delivery

        return [await retry_delivery(opened.store, delivery_id, now=opened.clock())]

    _show(over_store(run), as_json=as_json)


def _show(deliveries: "Sequence[LogoutDelivery]", *, as_json: bool) -> None:
    if as_json:
        names = ("id", "client_id", "user_id", "session_id", "created_at", "attempts", "next_attempt_at", "last_error")
        echo_json([{name: getattr(delivery, name) for name in names} for delivery in deliveries])
        return
    for delivery in deliveries:
        when = delivery.next_attempt_at
        outlook = "given up" if when is None else f"next {when:%Y-%m-%d %H:%M:%S}"
        error = f" ({delivery.last_error})" if delivery.last_error else ""
        typer.echo(f"{delivery.id}  {delivery.client_id}  {delivery.attempts} attempts, {outlook}{error}")
