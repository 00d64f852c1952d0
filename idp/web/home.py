"""The first page."""

from starlette.requests import Request
from starlette.responses import Response

from idp.web.endpoint import page
from idp.web.services import Services, find_signed_in


@page
async def home(request: Request[Services]) -> Response:
    """Greet: sign in or out, and in demo mode the demo's sign-ins."""
    state = request.state
    signed_in = await find_signed_in(request)
    demo = state["demo"]
    return state["pages"].render(
        "home.html",
        user_label=None if signed_in is None else signed_in.user.label,
        demo=[] if demo is None else demo.accounts,
        rp_url=None if demo is None else demo.rp_url,
    )
