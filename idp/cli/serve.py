"""`idp serve`."""

from typing import Annotated

import typer

from idp.cli.worker import loading


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (IDP_LISTEN_HOST).")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on (IDP_LISTEN_PORT).")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Server processes (IDP_WORKERS).")] = None,
    database_url: Annotated[str | None, typer.Option(help="Database (IDP_DATABASE_URL).")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Serve demo data and a demo application.")] = False,
    rp_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the demo application.")] = 9000,
) -> None:
    """Run the server; an empty database is made ready first."""
    with loading():
        from idp.cli.server import start

    start(
        {"listen_host": host, "listen_port": port, "workers": workers, "database_url": database_url},
        demo_rp_port=rp_port if demo else None,
    )
