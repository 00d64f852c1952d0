"""The page of a mailed link that does not work any more, and where to get another one."""

from starlette.requests import Request
from starlette.responses import Response

from idp.web.services import Services


def link_gone(request: Request[Services], *, again_url: str | None) -> Response:
    """Return the page; without an address a new link comes from whoever runs the server."""
    return request.state["pages"].render("link_gone.html", status=410, again_url=again_url)
