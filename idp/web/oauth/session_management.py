"""The OP iframe (OpenID Connect Session Management 1.0 §3.2)."""

from starlette.requests import Request
from starlette.responses import Response

from idp.web.endpoint import page
from idp.web.services import Services


@page
async def check_session(request: Request[Services]) -> Response:
    """Answer the page that applications frame to ask whether the sign-in changed; its script is all that it holds."""
    return request.state["pages"].render_frame("check_session.html", cookie=request.state["cookies"].state_name)
